"""Batch metrics against numerai-tools era by era, on one core; results must be equal to 1e-9.

numerai-tools is timed on fewer eras, because all take equally long; equality is checked on those eras.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numerai_tools import scoring as reference

from predictd.data.generator import Era, EraGenerator
from predictd.scoring.metrics import FactorCache, Features, Scores, Truth, score

ROWS = 5_500
NARROW = 42
WIDE = 2748
ERAS = 200
CHECKED_ERAS = 3
WIDE_ERAS = 2
SUBMISSIONS = 100


class Source:
    """The features of generated eras."""

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
    best, result = float("inf"), None
    for _ in range(times):
        begin = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begin)
    return best, result


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


def check(ours: Scores, theirs: dict[str, float], era: int, submission: int = 0) -> None:
    for name, value in theirs.items():
        if not abs(getattr(ours, name)[era, submission] - value) < 1e-9:
            raise RuntimeError(f"{name} of era {era} differs from the reference by more than 1e-9")


def metrics_42_features() -> dict:
    """CORR, MMC, FNC and exposure of one submission in 200 eras, 42 features; seconds per era."""
    process, rng = generator()
    eras = [process.history(number, ROWS) for number in range(ERAS)]
    eras = [Era(**{**vars(era), "features": era.features[:NARROW].copy()}) for era in eras]
    truth, features = truth_of(eras), Features(source=Source(eras, NARROW))
    predictions = rng.random((ERAS * ROWS, 1))
    seconds, ours = timed(lambda: score(predictions, truth, features), 2)
    theirs = []
    for number in range(CHECKED_ERAS):
        values = predictions[number * ROWS : (number + 1) * ROWS, 0]
        tools = Reference(eras[number], NARROW)
        duration, expected = timed(lambda peer=tools, values=values: peer.all(values), 2)
        theirs.append(duration)
        check(ours, expected, number)
    return figure("metrics_42_features", 20, seconds / ERAS, float(np.median(theirs)))


def metrics_round_of_100() -> dict:
    """The same for 100 submissions of one round, seconds per submission."""
    process, rng = generator()
    era = process.history(1, ROWS)
    predictions = rng.random((ROWS, SUBMISSIONS))
    features = Features(source=Source([era], NARROW))
    seconds, ours = timed(lambda: score(predictions, truth_of([era]), features), 3)
    tools = Reference(era, NARROW)
    theirs, expected = timed(lambda: [tools.all(predictions[:, number]) for number in range(5)])
    for number, values in enumerate(expected):
        check(ours, values, 0, number)
    return figure("metrics_round_of_100", 25, seconds / SUBMISSIONS, theirs / 5)


def fnc_2748_first() -> dict:
    """FNC over all features for the first model of a data version, seconds per era."""
    return _wide()["fnc_2748_first"]


def fnc_2748_further() -> dict:
    """The same for each further model, with cached factors."""
    return _wide()["fnc_2748_further"]


@cache
def _wide() -> dict[str, dict]:
    process, rng = generator()
    eras = [process.history(number, ROWS) for number in range(WIDE_ERAS)]
    truth = Truth(**{**vars(truth_of(eras)), "meta_model": None})
    predictions = rng.random((WIDE_ERAS * ROWS, 2))
    with tempfile.TemporaryDirectory() as folder:
        features = Features(source=Source(eras, WIDE), cache=lambda names: FactorCache(Path(folder), "bench", names))
        first, ours = timed(lambda: score(predictions[:, :1], truth, features))
        further, further_scores = timed(lambda: score(predictions[:, 1:], truth, features), 2)
    theirs = []
    for number in range(WIDE_ERAS):
        tools, rows = Reference(eras[number], WIDE), slice(number * ROWS, (number + 1) * ROWS)
        for scores, values in ((ours, predictions[rows, 0]), (further_scores, predictions[rows, 1]))[
            : 2 if not number else 1
        ]:
            duration, expected = timed(lambda peer=tools, values=values: peer.fnc(values))
            theirs.append(duration)
            check(scores, {"fnc": expected}, number)
    each = float(np.median(theirs))
    return {
        "fnc_2748_first": figure("fnc_2748_first", 8, first / WIDE_ERAS, each),
        "fnc_2748_further": figure("fnc_2748_further", 100, further / WIDE_ERAS, each),
    }


def generator() -> tuple[EraGenerator, np.random.Generator]:
    return EraGenerator(seed=1, signal=0.03), np.random.default_rng(0)


def figure(name: str, at_least: float, ours: float, theirs: float) -> dict:
    return {
        "name": name,
        "ratio": round(theirs / ours, 1),
        "at_least": at_least,
        "ours": round(ours, 6),
        "peer": round(theirs, 5),
        "unit": "s",
    }


FIGURES: dict[str, Callable[[], dict]] = {
    function.__name__: function
    for function in (metrics_42_features, metrics_round_of_100, fnc_2748_first, fnc_2748_further)
}
