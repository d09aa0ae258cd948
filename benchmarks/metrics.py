"""The batch engine for the metrics against numerai-tools called era by era, on one core; results must be equal to 1e-9.

`python benchmarks/metrics.py [--eras 200] [--reference-eras 3] [--wide-eras 2]` prints one JSON object. The reference
is timed on fewer eras, as each takes it as long as any other; equality is checked on those.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numerai_tools import scoring as reference

from predictd.data.process import Era, Process
from predictd.scoring.metrics import Features, KeptFactors, Scores, Truth, score

ROWS = 5_500
NARROW = 42
WIDE = 2748


class Source:
    """The features of drawn eras."""

    def __init__(self, eras: list[Era], count: int) -> None:
        self.names = [f"f{number}" for number in range(count)]
        self._eras = [np.ascontiguousarray(era.features[:count]) for era in eras]

    def values(self, number: int) -> Any:
        return self._eras[number]


def truth_of(eras: list[Era]) -> Truth:
    return Truth(
        eras=[str(number) for number in range(len(eras))],
        bounds=np.arange(len(eras) + 1) * ROWS,
        targets=np.concatenate([era.targets[0] for era in eras]).astype(np.float64),
        meta_model=np.concatenate([era.meta_model for era in eras]).astype(np.float64),
    )


def timed(work: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    best, answer = float("inf"), None
    for _ in range(times):
        begin = time.perf_counter()
        answer = work()
        best = min(best, time.perf_counter() - begin)
    return best, answer


class Reference:
    """numerai-tools for one era and one submission at a time."""

    def __init__(self, era: Era, count: int) -> None:
        self.index = pd.Index([f"{number:05d}" for number in range(ROWS)])
        self.targets = pd.Series(era.targets[0].astype(np.float64), index=self.index, name="t")
        self.meta = pd.Series(era.meta_model.astype(np.float64), index=self.index, name="m")
        self.features = pd.DataFrame(
            era.features[:count].T, index=self.index, columns=[f"f{number}" for number in range(count)]
        )

    def all(self, values: Any) -> dict[str, float]:
        p = pd.DataFrame({"p": values}, index=self.index)
        return {
            "corr": reference.numerai_corr(p, self.targets)["p"],
            "mmc": reference.correlation_contribution(p, self.meta, self.targets)["p"],
            "fnc": self.fnc(values),
            "feature_corr_max": reference.max_feature_correlation(p["p"], self.features)[1],
        }

    def fnc(self, values: Any) -> float:
        p = pd.DataFrame({"p": values}, index=self.index)
        return reference.feature_neutral_corr(p, self.features, self.targets)["p"]


def check(ours: Scores, theirs: dict[str, float], era: int, submission: int = 0) -> float:
    differences = [abs(getattr(ours, name)[era, submission] - value) for name, value in theirs.items()]
    if not max(differences) < 1e-9:
        raise SystemExit(f"Era {era}: {differences} of {list(theirs)} differ from the reference by more than 1e-9.")
    return max(differences)


def many_eras(process: Process, count: int, reference_eras: int, rng: np.random.Generator) -> dict[str, float]:
    eras = [process.history(number, ROWS) for number in range(count)]
    eras = [Era(**{**vars(era), "features": era.features[:NARROW].copy()}) for era in eras]
    truth, features = truth_of(eras), Features(source=Source(eras, NARROW))
    predictions = rng.random((count * ROWS, 1))
    seconds, ours = timed(lambda: score(predictions, truth, features), 2)
    worst, theirs = 0.0, 0.0
    for number in range(reference_eras):
        values = predictions[number * ROWS : (number + 1) * ROWS, 0]
        one = Reference(eras[number], NARROW)
        taken, found = timed(lambda one=one, values=values: one.all(values), 2)
        theirs += taken / reference_eras
        worst = max(worst, check(ours, found, number))
    return figures(seconds / count, theirs, worst)


def one_round(process: Process, submissions: int, rng: np.random.Generator) -> dict[str, float]:
    era = process.history(1, ROWS)
    predictions = rng.random((ROWS, submissions))
    features = Features(source=Source([era], NARROW))
    seconds, ours = timed(lambda: score(predictions, truth_of([era]), features), 3)
    one = Reference(era, NARROW)
    theirs, found = timed(lambda: [one.all(predictions[:, number]) for number in range(5)])
    worst = max(check(ours, values, 0, number) for number, values in enumerate(found))
    return figures(seconds / submissions, theirs / 5, worst)


def wide(process: Process, count: int, rng: np.random.Generator, folder: Path) -> dict[str, dict[str, float]]:
    eras = [process.history(number, ROWS) for number in range(count)]
    truth = Truth(**{**vars(truth_of(eras)), "meta_model": None})
    features = Features(source=Source(eras, WIDE), kept=lambda names: KeptFactors(folder, "bench", names))
    predictions = rng.random((count * ROWS, 2))
    first, ours = timed(lambda: score(predictions[:, :1], truth, features))
    further, others = timed(lambda: score(predictions[:, 1:], truth, features), 2)
    theirs, worst = [], 0.0
    for number in range(count):
        one, rows = Reference(eras[number], WIDE), slice(number * ROWS, (number + 1) * ROWS)
        for scores, values in ((ours, predictions[rows, 0]), (others, predictions[rows, 1]))[: 2 if not number else 1]:
            taken, found = timed(lambda one=one, values=values: one.fnc(values))
            theirs.append(taken)
            worst = max(worst, check(scores, {"fnc": found}, number))
    each = float(np.median(theirs))
    return {"first": figures(first / count, each, worst), "further": figures(further / count, each, worst)}


def figures(ours: float, theirs: float, worst: float) -> dict[str, float]:
    return {
        "ms": round(ours * 1e3, 2),
        "reference_ms": round(theirs * 1e3, 2),
        "times_faster": round(theirs / ours, 1),
        "largest_difference": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eras", type=int, default=200)
    parser.add_argument("--reference-eras", type=int, default=3)
    parser.add_argument("--wide-eras", type=int, default=2)
    parser.add_argument("--submissions", type=int, default=100)
    chosen = parser.parse_args()
    process, rng = Process(seed=1, signal=0.03), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        answer = {
            "all metrics over 42 features, per era": many_eras(process, chosen.eras, chosen.reference_eras, rng),
            "submissions of one round, per submission": one_round(process, chosen.submissions, rng),
            **{
                f"{which} model: FNC over 2748 features, per era": found
                for which, found in wide(process, chosen.wide_eras, rng, Path(folder)).items()
            },
        }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
