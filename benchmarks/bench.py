"""All figures of speed and memory, predictd and the peer in turn on one core: `make bench`, `make bench ONLY=name`.

Prints a table and writes benchmarks/last.json. see docs/contributors/benchmarks.md. A figure below its bound is
marked; the exit code is 1 only if a measurement failed, or, with --strict, if a figure is below its bound.
"""

import argparse
import json
import os
import sys
import time
import traceback
from functools import partial

import metrics
import pages
import whole_runs

import trees
from predictd.domain.errors import PredictdError
from predictd.sandbox.resource_group import hierarchy

LAST = trees.ROOT / "benchmarks" / "last.json"
# Target ratio of each figure, above its bound.
AIMS = {
    "trivial_run": 30,
    "trivial_throughput": 30,
    "trees_20000_avx512": 700,
    "trees_20000_avx2": 250,
    "trees_20000_portable": 50,
    "trees_2000_avx512": 300,
    "trees_90000_wide_avx512": 900,
    "trees_deep": 30,
    "trees_validation_550000": 2.5,
    "trees_whole_run": 100,
    "trees_first_run": 20,
    "private_memory": 2,
    "cost_per_model": 1,
    "metrics_42_features": 50,
    "metrics_round_of_100": 50,
    "fnc_2748_first": 13,
    "fnc_2748_further": 400,
    "models_page": 2,
    "first_load_of_models_page": 1.5,
}


def main() -> None:
    measured = whole_runs.FIGURES | metrics.FIGURES | pages.FIGURES
    figures = {name: measured[name] if name in measured else partial(trees.run, name) for name in AIMS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help=f"one of {', '.join(figures)}")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a figure is below its bound")
    arguments = parser.parse_args()
    if arguments.only and arguments.only not in figures:
        parser.error(f"figure {arguments.only!r} does not exist; choose from {', '.join(figures)}")
    core = max(os.sched_getaffinity(0))
    try:
        whole_runs.prepare_runtime()
    except PredictdError as error:
        sys.exit(str(error))
    os.sched_setaffinity(0, {core})
    print(f"everything runs on core {core} of {os.cpu_count()}; predictd and the peer take turns", flush=True)
    warn_about_machine()
    results, failed = [], []
    for name in [arguments.only] if arguments.only else figures:
        began = time.perf_counter()
        try:
            result = figures[name]()
        except Exception:  # noqa: BLE001 (the other figures are still useful)
            traceback.print_exc()
            failed.append(name)
            continue
        results.append(result)
        print(f"{line(result)}   ({time.perf_counter() - began:.0f} s to measure)", flush=True)
        LAST.write_text(json.dumps(results, indent=2) + "\n")
    below = [result["name"] for result in results if result["ratio"] < result["at_least"]]
    print(f"{len(results)} figures in {LAST.relative_to(trees.ROOT)}; below the bound: {', '.join(below) or 'none'}")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")
    sys.exit(1 if below and arguments.strict else 0)


def warn_about_machine() -> None:
    """Print what this machine lacks for full isolation, and whether it is busy."""
    if os.getloadavg()[0] > 0.5:
        print(f"this machine is busy (load {os.getloadavg()[0]:.1f}): times will be too long and ratios unreliable")
    if os.geteuid() != 0:
        print("not root: runs are isolated by user namespaces, without a user id of their own")
    if hierarchy() is None:
        print("no control groups: the server monitors the memory of runs, and private_memory is its measurement")


def line(result: dict) -> str:
    """Return one figure as a line."""
    name, unit = result["name"], result["unit"]
    mark = "ok   " if result["ratio"] >= result["at_least"] else "BELOW"
    bounds = f"at least {result['at_least']}, aim {AIMS[name]}"
    return (
        f"{mark} {name:24} ratio {result['ratio']:8.2f} ({bounds})"
        f"   ours {result['ours']:.4g} {unit}, peer or bound {result['peer']:.4g} {unit}"
    )


if __name__ == "__main__":
    main()
