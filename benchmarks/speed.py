"""Measures every way to run the model side by side, in one run, and writes docs/benchmarks.md with its plot.

    python benchmarks/speed.py TWELVE_LAYERS SIX_LAYERS

TWELVE_LAYERS and SIX_LAYERS are full bundles (`chatiquette export RUN BUNDLE`, without --slim). Messages are those of the
validation split. All contenders take turns in each round, so that whatever else the machine does hits them alike; what is
compared are ratios within a round. About fifteen minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread is one thread

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from contenders import Contender, Pair, bare, dynamic_int8, eager, openvino_int8, ours, piped_base, piped_bundle
from matplotlib import pyplot as plt
from tqdm import tqdm

from chatiquette import EtiquetteClassifier
from chatiquette.bundle import CONFIG, METADATA, QUANTIZED_GRAPH, TOKENIZER, TOKENIZER_CONFIG
from chatiquette_training.dataset import load_split
from chatiquette_training.export import GRAPH, processor

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.png"

LENGTHS = (8, 16, 32, 64)
ROUNDS = 7
SINGLE = 20  # messages of each length, one at a time
BULK = 256
STREAMED = 20_000
BASELINE, FLOAT32, BARE = "transformers.pipeline", "ONNX Runtime, float32", "our graph without the API"
OURS, STUDENT = "**chatiquette, 12 layers**", "**chatiquette, 6 layers**"

NEEDED = (CONFIG, METADATA, QUANTIZED_GRAPH, TOKENIZER, TOKENIZER_CONFIG)  # files of a bundle that inference reads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("twelve", type=Path, metavar="TWELVE_LAYERS")
    parser.add_argument("six", type=Path, metavar="SIX_LAYERS")
    arguments = parser.parse_args()
    introduction = describe()
    torch.set_num_threads(1)
    draw = random.Random(0)
    pairs = [(one.text, one.context) for one in load_split(ROOT / "data", "validation")]
    seen = [(one.text, one.context) for one in draw.sample(load_split(ROOT / "data", "train"), 300)]
    with tempfile.TemporaryDirectory() as temporary:
        contenders = [
            piped_base("XLM-R base's shape, transformers.pipeline"),
            piped_bundle(BASELINE, arguments.twelve),
            piped_bundle(f"{BASELINE}, 16 of similar length", arguments.twelve, batch=16),
            eager("PyTorch eager, float32", arguments.twelve, torch.float32),
            eager("PyTorch eager, bfloat16", arguments.twelve, torch.bfloat16),
            bare(FLOAT32, arguments.twelve, arguments.twelve / GRAPH),
            dynamic_int8("ONNX Runtime, dynamic int8", arguments.twelve, Path(temporary)),
            openvino_int8("OpenVINO, nncf int8", arguments.twelve, seen, Path(temporary)),
            bare(BARE, arguments.twelve, arguments.twelve / QUANTIZED_GRAPH),
            ours(OURS, arguments.twelve),
            ours(STUDENT, arguments.six, same_weights=False),
        ]
        lengths = token_counts(arguments.twelve, pairs)
        single = {
            length: measure(contenders, nearest(pairs, lengths, length), f"{length} tokens", one_by_one)
            for length in LENGTHS
        }
        sample = draw.sample(range(len(pairs)), BULK)
        bulk = measure(contenders, [pairs[i] for i in sample], "bulk", lambda one, some: [timed(one, some)])
        flips = changed_decisions(contenders, [pairs[i] for i in sample])
    sections = [
        introduction,
        bulk_table(contenders, bulk, flips, sum(lengths[i] for i in sample) / BULK),
        single_table(contenders, single),
        core_share(arguments.twelve, bulk[OURS], [pairs[i] for i in sample]),
        processes(arguments.twelve, pairs),
        start_and_memory(arguments),
    ]
    PAGE.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    plot(contenders, bulk, single)
    print(PAGE.read_text(encoding="utf-8"))


def token_counts(folder: Path, pairs: list[Pair]) -> list[int]:
    classifier = EtiquetteClassifier.load(folder)
    return [one.tokens for one in classifier.predict([text for text, _ in pairs], [context for _, context in pairs])]


def nearest(pairs: list[Pair], lengths: list[int], length: int) -> list[Pair]:
    return [pairs[i] for i in sorted(range(len(pairs)), key=lambda i: abs(lengths[i] - length))[:SINGLE]]


def timed(contender: Contender, pairs: list[Pair]) -> float:
    start = time.perf_counter()
    contender.classify(pairs)
    return time.perf_counter() - start


def one_by_one(contender: Contender, pairs: list[Pair]) -> list[float]:
    return [timed(contender, [pair]) for pair in pairs]


def measure(
    contenders: list[Contender], pairs: list[Pair], title: str, how: Callable[[Contender, list[Pair]], list[float]]
) -> dict[str, list[list[float]]]:
    """Returns contender → for each round the seconds that `how` gives; the order is another one in each round."""
    draw = random.Random(1)
    found: dict[str, list[list[float]]] = {one.name: [] for one in contenders}
    for one in contenders:
        one.classify(pairs[:4])  # warm: memory is claimed, code is compiled
    for _ in tqdm(range(ROUNDS), desc=title):
        for one in draw.sample(contenders, len(contenders)):
            found[one.name].append(how(one, pairs))
    return found


def ratio(of: list[float], to: list[float]) -> str:
    """Says how many times faster `to` is than `of`: the median of the rounds and their extremes."""
    ratios = sorted(a / b for a, b in zip(of, to, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def changed_decisions(contenders: list[Contender], pairs: list[Pair]) -> dict[str, float]:
    """Returns the share of the decisions that differ from float32's, for the contenders with the same weights."""
    expected = next(one for one in contenders if one.name == FLOAT32).probabilities(pairs) >= 0.5
    return {
        one.name: float(((one.probabilities(pairs) >= 0.5) != expected).mean())
        for one in contenders
        if one.same_weights
    }


def describe() -> str:
    machine = processor()
    return (
        "# Benchmarks\n\nWritten by `make benchmark`, which exports both sizes and runs `benchmarks/speed.py`: every "
        "contender on one thread, from text to probabilities,\ntaking turns. Ratios are medians over "
        f"{ROUNDS} rounds, with the smallest and the largest.\n\nMachine: {machine['name']} "
        f"({', '.join(machine['flags'])}); other machines give other figures.\nThe model of XLM-RoBERTa base's shape has "
        "random weights, all others the weights of the 12 layers or of the 6.\n\n"
        "![Throughput and latency of each contender](benchmarks.png)"
    )


def bulk_table(
    contenders: list[Contender], bulk: dict[str, list[list[float]]], flips: dict[str, float], mean_tokens: float
) -> str:
    seconds = {name: [sum(one) for one in rounds] for name, rounds in bulk.items()}
    lines = [
        "## Many messages",
        "",
        f"{BULK} validation messages with their contexts, {mean_tokens:.0f} tokens on average. All but the pipelines sort them "
        "by length and take at most 512 tokens a call.\nChanged are decisions that differ from float32's.",
        "",
        f"| | messages a second | times {BASELINE} | {OURS} is faster by | changed | weights, MB |",
        "|---|---|---|---|---|---|",
    ]
    for one in contenders:
        rate = BULK / statistics.median(seconds[one.name])
        changed = f"{flips[one.name]:.2%}" if one.name in flips else "–"
        lines.append(
            f"| {one.name} | {rate:,.0f} | {ratio(seconds[BASELINE], seconds[one.name])} "
            f"| {ratio(seconds[one.name], seconds[OURS])} | {changed} | {one.size / 1e6:,.0f} |"
        )
    lines += ["", f"The API takes {ratio(seconds[OURS], seconds[BARE])} times what its graph takes without it."]
    return "\n".join(lines)


def single_table(contenders: list[Contender], single: dict[int, dict[str, list[list[float]]]]) -> str:
    lines = [
        "## One message at a time",
        "",
        f"Milliseconds, median and 95th percentile of {SINGLE} messages in {ROUNDS} rounds; the last column compares medians "
        "at 32 tokens.",
        "",
        f"| | {' | '.join(f'{length} tokens' for length in LENGTHS)} | {OURS} is faster by |",
        "|---|" + "---|" * (len(LENGTHS) + 1),
    ]
    medians = {name: [statistics.median(one) for one in rounds] for name, rounds in single[32].items()}
    for one in contenders:
        cells = []
        for length in LENGTHS:
            low, high = np.percentile(single[length][one.name], [50, 95]) * 1000
            cells.append(f"{low:.1f} / {high:.1f}")
        lines.append(f"| {one.name} | {' | '.join(cells)} | {ratio(medians[one.name], medians[OURS])} |")
    return "\n".join(lines)


def core_share(folder: Path, bulk: list[list[float]], pairs: list[Pair]) -> str:
    """Compares the linear layers' int8 products with the largest rate that oneDNN reaches on this core."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    # The last layer computes no more than keys and values of the tokens that aren't the message's own.
    whole, keys_and_values = 4 * hidden**2 + 2 * hidden * wide, 2 * hidden**2
    every, own = sum(token_counts(folder, pairs)), sum(token_counts(folder, [(text, None) for text, _ in pairs]))
    operations = 2 * ((layers - 1) * whole * every + keys_and_values * every + (whole - keys_and_values) * own)
    a, b = torch.ones(2048, 2048, dtype=torch.int8), torch.ones(2048, 2048, dtype=torch.int8)
    rates = []
    for _ in range(20):
        start = time.perf_counter()
        torch._int_mm(a, b)
        rates.append(2 * 2048**3 / (time.perf_counter() - start))
    reached = operations / statistics.median(sum(one) for one in bulk)
    return (
        "## How much of the core is used\n\n"
        f"Linear layers take {operations / every / 1e6:.1f} million operations a token: in bulk, end to end, "
        f"{reached / 1e9:.0f} billion a second. oneDNN's int8 product\nof two 2048 × 2048 matrices (`torch._int_mm`) "
        f"reaches {max(rates) / 1e9:.0f} on one thread: **{reached / max(rates):.0%}** of it."
    )


_STREAM = """
import json, sys, time
from chatiquette import EtiquetteClassifier, Message
if __name__ == "__main__":
    pairs = json.load(sys.stdin)
    messages = [Message(*pairs[i % len(pairs)]) for i in range(int(sys.argv[4]))]
    classifier = EtiquetteClassifier.load(sys.argv[1], threads=int(sys.argv[2]))
    start = time.perf_counter()
    for _ in classifier.stream(messages, processes=int(sys.argv[3])):
        pass
    print(time.perf_counter() - start)
    start = time.perf_counter()
    classifier._encoder.encode(*map(list, zip(*pairs)))
    print((time.perf_counter() - start) / len(pairs) * len(messages))
"""


def processes(folder: Path, pairs: list[Pair]) -> str:
    seconds: dict[tuple[int, int], list[float]] = {(1, 1): [], (1, 2): [], (2, 1): []}
    share = 0.0
    for _ in tqdm(range(3), desc="processes"):
        for threads, count in seconds:
            command = [sys.executable, "-c", _STREAM, str(folder), str(threads), str(count), str(STREAMED)]
            output = subprocess.run(command, input=json.dumps(pairs), capture_output=True, text=True, check=True).stdout
            streamed, tokenised = map(float, output.split())
            seconds[threads, count].append(streamed)
            if (threads, count) == (1, 1):
                share = tokenised / streamed
    return (
        f"## Two cores\n\n`stream` over {STREAMED:,} messages, starting the processes included: two processes are "
        f"{ratio(seconds[1, 1], seconds[1, 2])} times as fast as one, and two threads\nin one process "
        f"{ratio(seconds[1, 1], seconds[2, 1])} times. The tokenizer takes {share:.1%} of the time of one process."
    )


def start_and_memory(arguments: argparse.Namespace) -> str:
    lines = [
        "## Start, size and memory",
        "",
        "Fresh processes, medians of nine: from the interpreter's start to the first verdict, of which loading the bundle with "
        "its checksums;\nthe peak memory after one message, after 10,000 streamed ones, and after 100,000.",
        "",
        "| | first verdict, s | loading, s | peak, MB | 10,000 | 100,000 | bundle without float32 files, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, folder in ((OURS, arguments.twelve), (STUDENT, arguments.six)):
        runs = [fresh(folder, 0) for _ in range(9)]
        first, loading, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        peaks = [fresh(folder, count)[2] for count in (10_000, 100_000)]
        size = sum((folder / file).stat().st_size for file in NEEDED) / 1e6
        cells = [f"{first:.2f}", f"{loading:.2f}", *(f"{one:.0f}" for one in (peak, *peaks)), f"{size:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


_FRESH = r"""
import re, sys, time
from chatiquette import EtiquetteClassifier, Message
imported = time.time()
classifier = EtiquetteClassifier.load(sys.argv[1])
loaded = time.time()
classifier.predict("Done. Bye.", context="Thanks, that solved it!")
predicted = time.time()
for _ in classifier.stream(Message(f"Please wait, ticket {i}.") for i in range(int(sys.argv[2]))):
    pass
# Not getrusage, which counts what the parent held when it forked.
peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1)
print(predicted - float(sys.argv[3]), loaded - imported, int(peak) / 1000)
"""


def fresh(folder: Path, streamed: int) -> tuple[float, ...]:
    """Returns, of a process of its own: seconds to the first verdict, seconds of loading, and the peak memory in MB."""
    command = [sys.executable, "-c", _FRESH, str(folder), str(streamed), str(time.time())]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(map(float, output.split()))


def plot(
    contenders: list[Contender], bulk: dict[str, list[list[float]]], single: dict[int, dict[str, list[list[float]]]]
) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    colours = plt.get_cmap("tab20").colors
    for i, one in enumerate(contenders):
        rate = BULK / statistics.median(sum(times) for times in bulk[one.name])
        left.barh(i, rate, color=colours[i])
        left.text(rate * 1.05, i, f"{rate:,.0f}", va="center")
        medians = [np.median(single[length][one.name]) * 1000 for length in LENGTHS]
        right.plot(LENGTHS, medians, marker="o", color=colours[i])
    left.set_yticks(range(len(contenders)), [one.name.strip("*") for one in contenders])
    left.set_xscale("log")
    left.margins(x=0.15)
    left.set_xlabel("messages a second, one thread, many messages")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_xticks(LENGTHS, map(str, LENGTHS))
    right.set_xlabel("tokens of one message; colours as on the left")
    right.set_ylabel("milliseconds, median")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, dpi=130)


if __name__ == "__main__":
    main()
