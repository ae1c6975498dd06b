"""The commands that need the `train` extra; what they import heavily waits until a command runs."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

_P = ParamSpec("_P")
_R = TypeVar("_R")

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


def _guarded(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turns expected failures into one clear message; a missing package says which extra brings it."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"this command needs the package {error.name!r}; run: pip install 'chatiquette[train]'"
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            if isinstance(error, OSError) or type(error).__module__.startswith("chatiquette"):
                raise click.ClickException(str(error)) from error
            raise  # a fault of ours: the traceback helps

    return run


@click.group()
def data() -> None:
    """Works on data sets of labelled messages."""


@data.command()
@click.argument("folder", type=_FOLDER, default=Path("data"))
@_guarded
def validate(folder: Path) -> None:
    """Checks a data set: FOLDER holds messages/SPLIT/LANGUAGE.jsonl and, if you like, conversations and behaviour.

    The splits are train, validation and test. Every fault is named with its file and line: bad JSON, missing or unknown
    fields, unknown labels, two verdicts in one category, repeated ids and texts, contrast pairs that are none, and
    whatever leaks between the splits (scenario, author, near-copy).

    \b
    chatiquette data validate data
    """
    from .validation import SPLITS, validate

    found, faults = validate(folder)
    for fault in faults:
        click.echo(str(fault), err=True)
    counts = ", ".join(f"{len(found.splits[split]):,} {split}" for split in SPLITS)
    counts = f"{counts} messages and {len(found.conversations)} conversations"
    if faults:
        raise click.ClickException(f"{len(faults)} fault(s) in {folder} ({counts} are sound by themselves)")
    click.echo(f"{folder}: no faults; {counts}")


@data.command()
@click.argument("folder", type=_FOLDER, default=Path("data/messages/test"))
@_guarded
def agreement(folder: Path) -> None:
    """Shows how far two annotators agree: Cohen's kappa and F1 by label and language.

    FOLDER holds one JSON Lines file a language, of messages or of conversations that were annotated twice. Compared are the
    author's and the second reading; and, where a third was made, that and the final labels.

    \b
    chatiquette data agreement data/messages/validation
    chatiquette data agreement data/conversations
    """
    from rich.console import Console

    from .agreement import agreement, agreement_rows, third_and_labels
    from .dataset import load_folder
    from .evaluation import table

    messages = load_folder(folder)
    agreements = agreement(messages)
    if not agreements:
        raise click.ClickException(f"{folder}: no message here was annotated twice")
    Console().print(table(agreement_rows("kappa, F1: author, 2nd", agreements)))
    if third := agreement(messages, third_and_labels):
        Console().print(table(agreement_rows("kappa, F1: labels, 3rd", third)))


@data.command("label-errors")
@click.argument("config", type=_FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--folds", type=click.IntRange(2), default=4, show_default=True, help="Models to train.")
@click.option(
    "--output", type=_FILE, default=Path("label-errors.jsonl"), show_default=True, help="Where to write them."
)
@_guarded
def label_errors(config: Path, overrides: tuple[str, ...], folds: int, output: Path) -> None:
    """Lists train labels that are probably wrong, for somebody to read.

    Trains one model a fold as CONFIG says, each without some of the authors, and lists what those models contradict on
    the messages of the authors that they never saw. Few epochs are enough. Ctrl-C loses the current epoch at most.

    \b
    chatiquette data label-errors configs/default.yaml name=label-errors optimisation.epochs=4
    """
    from .config import load

    resolved = load(config, overrides)
    from .label_errors import label_errors

    suspects = label_errors(resolved, folds)
    with output.open("w", encoding="utf-8") as file:
        for one in suspects:
            record = {
                "id": one.message.id,
                "label": one.label,
                "given": one.given,
                "probability": round(one.probability, 4),
                "context": one.message.context,
                "text": one.message.text,
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    messages = len({one.message.id for one in suspects})
    click.echo(f"{output}: {len(suspects):,} decisions on {messages:,} messages to read, the most doubtful first")


@data.command()
@click.argument("folder", type=_FOLDER, default=Path("data"))
@click.option("--output", type=_FOLDER, required=True, help="The folder to write it to.")
@_guarded
def report(folder: Path, output: Path) -> None:
    """Describes a data set on an HTML page with plots: counts, lengths, domains, agreement, near-copies, hard cases.

    The data set must pass `chatiquette data validate`. Written are index.html, its plots as PNG, and the figures in
    report.json.

    \b
    chatiquette data report data --output docs/data
    """
    from .report import write_report

    click.echo(f"{write_report(folder, output)}: written")


@click.command()
@click.argument("config", type=_FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", is_flag=True, help="Continue an interrupted run from its last epoch.")
@_guarded
def train(config: Path, overrides: tuple[str, ...], resume: bool) -> None:
    """Trains a model as the CONFIG file says and writes the run to runs/NAME.

    Values of the file are overridden by KEY=VALUE. Ctrl-C loses the current epoch at most: the same command with
    --resume goes on from the epoch before.

    \b
    chatiquette train configs/default.yaml
    chatiquette train configs/default.yaml name=longer optimisation.epochs=20
    tensorboard --logdir runs
    """
    from .config import load

    resolved = load(config, overrides)
    from .train import train

    try:
        run = train(resolved, resume)
    except KeyboardInterrupt:
        command = shlex.join(["chatiquette", "train", str(config), *overrides, "--resume"])
        click.echo(f"\ninterrupted; once an epoch is done, this goes on: {command}", err=True)
        raise SystemExit(130) from None
    click.echo(f"{run}: trained; next: chatiquette export {run} BUNDLE")


@click.command("learning-curve")
@click.argument("config", type=_FILE)
@click.argument("test", type=_FOLDER)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--share",
    "shares",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    default=(0.25, 0.5, 1.0),
    show_default=True,
    help="A share of the train messages; may be given several times.",
)
@click.option("--output", type=_FOLDER, required=True, help="The folder to write it to.")
@_guarded
def learning_curve(
    config: Path, test: Path, overrides: tuple[str, ...], shares: tuple[float, ...], output: Path
) -> None:
    """Plots macro F1 on TEST over growing shares of the train messages, which tells whether more data would help.

    The whole is the run that CONFIG names, and is trained only if it isn't there yet.

    \b
    chatiquette learning-curve configs/default.yaml data/messages/test --output docs/results
    """
    from .config import load

    resolved = load(config, overrides)
    from .learning_curve import learning_curve
    from .plots import plot_learning_curve
    from .rendering import write_json

    curve = learning_curve(resolved, shares, test)
    output.mkdir(parents=True, exist_ok=True)
    scores = {f"{share:g}": evaluation.as_dict()["macro_f1"] for share, evaluation in curve.items()}
    write_json(output / "learning_curve.json", scores)
    plot_learning_curve(curve, output / "learning_curve.png")
    click.echo(f"written: {output / 'learning_curve.png'}, {output / 'learning_curve.json'}")


@click.command()
@click.argument("configs", type=_FILE, nargs=-1, required=True, metavar="CONFIG...")
@click.option(
    "--seed", "seeds", type=int, multiple=True, default=(13, 14, 15), show_default=True, help="May be repeated."
)
@click.option("--output", type=_FOLDER, required=True, help="The folder to write it to.")
@_guarded
def ladder(configs: tuple[Path, ...], seeds: tuple[int, ...], output: Path) -> None:
    """Trains each CONFIG, in this order, with every seed and ranks them by macro F1 on validation.

    Finished runs are reused, so Ctrl-C loses the current epoch at most. Written are ladder.json, ladder.md and ladder.png.

    \b
    chatiquette ladder configs/experiments/*.yaml --output docs/results
    """
    from rich.console import Console

    from .evaluation import markdown, table
    from .experiments import ladder, ladder_rows
    from .plots import plot_ladder
    from .rendering import write_json

    rungs = ladder(configs, seeds)
    rows = ladder_rows(rungs)
    Console().print(table(rows))
    output.mkdir(parents=True, exist_ok=True)
    scores = {rung.name: rung.macro_f1 for rung in rungs}
    write_json(output / "ladder.json", scores)
    (output / "ladder.md").write_text(markdown(rows) + "\n", encoding="utf-8")
    plot_ladder(rungs, output / "ladder.png")
    click.echo(f"written: {output / 'ladder.md'}, ladder.json, ladder.png")


@click.command("cross-lingual")
@click.argument("config", type=_FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", type=_FOLDER, required=True, help="The folder to write it to.")
@_guarded
def cross_lingual(config: Path, overrides: tuple[str, ...], output: Path) -> None:
    """Trains on each language alone, on each three, and on all four, and scores all on validation: nine runs.

    Every run sees as many messages, as many as one language has. Finished runs are reused. Written are
    cross_lingual.json and cross_lingual.png.

    \b
    chatiquette cross-lingual configs/cross-lingual.yaml --output docs/results
    """
    from .config import load

    resolved = load(config, overrides)
    from .experiments import cross_lingual
    from .plots import plot_heat_maps
    from .rendering import write_json

    matrix = cross_lingual(resolved)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "cross_lingual.json", matrix)
    plot_heat_maps(output / "cross_lingual.png", {"trained on (rows), scored on (columns): macro F1": matrix}, "{:.2f}")
    click.echo(f"written: {output / 'cross_lingual.png'}, {output / 'cross_lingual.json'}")


@click.command()
@click.argument("model", type=_FOLDER)
@click.argument("data", type=_FOLDER)
@click.option(
    "--baseline", type=_FOLDER, metavar="TRAIN", help="Fit a TF-IDF baseline on this folder and show it beside."
)
@click.option(
    "--output",
    type=_FOLDER,
    help="Also write a page with plots, tables and the worst errors to this folder.",
)
@_guarded
def evaluate(model: Path, data: Path, baseline: Path | None, output: Path | None) -> None:
    """Scores MODEL, a run or a bundle, on the messages in DATA: F1 by label and language with 95 % intervals.

    DATA is a folder with one JSON Lines file a language. With --output the texts of the worst errors are written, too.

    \b
    chatiquette evaluate runs/default data/messages/validation
    chatiquette evaluate BUNDLE data/messages/test --baseline data/messages/train
    """
    from rich.console import Console

    from .baseline import baseline_probabilities
    from .dataset import load_folder
    from .evaluation import evaluate, summary_rows, table
    from .evaluation_report import write_evaluation
    from .scoring import probabilities, uncalibrated

    messages = load_folder(data)
    found = probabilities(model, messages)
    evaluations = {"model": evaluate(messages, found)}
    if baseline is not None:
        evaluations["TF-IDF baseline"] = evaluate(messages, baseline_probabilities(load_folder(baseline), messages))
    for rows in (summary_rows(evaluations), evaluations["model"].label_rows()):
        Console().print(table(rows))
    if output is not None:
        page = write_evaluation(output, evaluations, messages, found, uncalibrated(model, found))
        click.echo(f"{page}: written, with its plots, metrics.json, results.md and errors.jsonl")


@click.command()
@click.argument("model", type=_FOLDER)
@click.argument("data", type=_FOLDER, default=Path("data"))
@click.option("--output", type=_FOLDER, help="Also write robustness.json and robustness.md to this folder.")
@_guarded
def robustness(model: Path, data: Path, output: Path | None) -> None:
    """Tests whether MODEL, a run or a bundle, keeps its verdicts where nothing that matters has changed.

    The data set in the folder DATA needs messages/test, of which diacritics, case, typos and punctuation are changed and
    whose contrast pairs must be told apart; and may have behaviour/LANGUAGE.jsonl, groups of messages in which only a name, a
    gender, a nationality, a brand or a number differs, or in which identities, complaints and dialects must not be faulted.

    \b
    chatiquette robustness BUNDLE data --output docs/results
    """
    from rich.console import Console

    from .evaluation import markdown, table
    from .rendering import write_json
    from .robustness import robustness

    found = robustness(model, data)
    Console().print(table(found.rows()))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "robustness.json", found.as_dict())
        (output / "robustness.md").write_text(markdown(found.rows()) + "\n", encoding="utf-8")
        click.echo(f"written: {output / 'robustness.md'}, {output / 'robustness.json'}")


@click.command()
@click.argument("file", type=_FILE)
@click.argument("label")
@click.option(
    "--positive", multiple=True, default=("1", "true", "True"), show_default=True, help="Values that mean LABEL holds."
)
@click.option("--negative", multiple=True, help="Values that mean it doesn't [default: all others].")
@click.option("--column", default="label", show_default=True, help="Where the values stand.")
@click.option("--model", type=_FOLDER, help="A bundle to use instead of the installed model.")
@_guarded
def external(
    file: Path,
    label: str,
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    column: str,
    model: Path | None,
) -> None:
    """Holds the model against your own data: how well it finds LABEL in FILE, with 95 % bootstrap intervals.

    FILE is CSV or JSON Lines with "text", optionally "context" and "role", and a column that says where LABEL, one of
    those that `chatiquette labels` lists, holds. AUROC and average precision need no threshold; F1 is at 0.5.

    \b
    chatiquette external tickets.csv politeness.violated --column rude
    chatiquette external tydip.jsonl politeness.violated --positive impolite --negative polite
    """
    from rich.console import Console

    from chatiquette import EtiquetteClassifier

    from .evaluation import table
    from .external import check

    found = check(EtiquetteClassifier.load(model), file, label, column, positive, negative)
    for reason, count in found.skipped.most_common():
        click.echo(f"left out, {count} ×: {reason}", err=True)
    rows = [[label, "value (95 % interval)"], *([name, str(score)] for name, score in found.scores.items())]
    Console().print(table(rows))
    click.echo(f"{found.positive} rows with the label, {found.negative} without, {found.skipped.total()} left out")


@click.command()
@click.argument("run", type=_FOLDER)
@click.argument("bundle", type=_FOLDER)
@click.option(
    "--slim",
    is_flag=True,
    help="Leave out the float32 files and the graph that takes text: what is shipped with the package.",
)
@_guarded
def export(run: Path, bundle: Path, slim: bool) -> None:
    """Exports RUN, a finished training run, to the folder BUNDLE for inference.

    The exported graphs are compared with the trained model in every language; where they differ too much, nothing is
    written.

    \b
    chatiquette export runs/default bundle
    """
    from .export import export

    click.echo(f"{export(run, bundle, slim)}: exported; try: chatiquette classify --model {bundle} 'Hello!'")
