"""Measures what a first prediction costs in a fresh process: import, load (with checksums) and predict.

Run:  make benchmark
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from chatiquette.bundle import BUNDLED, QUANTIZED_GRAPH

_REPEATS = 9
_PROBE = """
import time; start = time.perf_counter()
from chatiquette import EtiquetteClassifier; imported = time.perf_counter()
classifier = EtiquetteClassifier.load(); loaded = time.perf_counter()
classifier.predict("Done. Bye.", context="Thanks, that solved it!"); predicted = time.perf_counter()
print(imported - start, loaded - imported, predicted - loaded, predicted - start)
"""


def main() -> None:
    runs = []
    for _ in range(_REPEATS):
        output = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True).stdout
        runs.append([float(seconds) for seconds in output.split()])
    print(f"medians of {_REPEATS} fresh processes, then the slowest; seconds")
    for name, column in zip(("import", "load", "first prediction", "total"), zip(*runs, strict=True), strict=True):
        print(f"{name:18}{statistics.median(column):6.2f}{max(column):8.2f}")
    size = sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file())
    print(f"\nbundle {size / 1e6:.1f} MB, of which the graph {(BUNDLED / QUANTIZED_GRAPH).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
