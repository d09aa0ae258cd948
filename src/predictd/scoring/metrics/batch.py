"""All eras and many submissions at once: the scores of each submission in each era.

Eras are taken one by one, so that the features of one era are in memory at a time. In an era each submission is ranked
once for all metrics, and features are multiplied with all submissions together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from predictd.domain.errors import InvalidInputError
from predictd.scoring.metrics.contribution import correlation_contribution
from predictd.scoring.metrics.correlation import broken_ranks, numerai_corr, pearson
from predictd.scoring.metrics.era_batch import Submitted, groups
from predictd.scoring.metrics.exposure import centred, feature_correlations, ratios
from predictd.scoring.metrics.factor_cache import KeptFactors
from predictd.scoring.metrics.factors import Factor, NotConvergedError, factor_of
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.neutral import neutral_corr_of
from predictd.scoring.metrics.ranks import Floats, Integers

Progress = Callable[[int, int], None]


class FeatureSource(Protocol):
    """Where features come from, such as MappedFeatures: `values(i)` are those of the i-th era, (features, rows)."""

    names: Sequence[str]

    def values(self, number: int) -> NDArray[Any]:
        """The features of an era, its rows in the order of the predictions."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What predictions are measured by, the rows of each era together.

    Attributes:
        eras: names of the eras, in order of time.
        bounds: the first row of each era and the number of rows, shape (eras + 1,).
        targets: shape (rows,), NaN where missing, as in all columns.
        meta_model: predictions of the meta model, (rows,), if there is one; so the others.
        benchmark: predictions of the benchmark model that BMC is measured by.
        example: example predictions.
    """

    eras: Sequence[str]
    bounds: Integers
    targets: Floats
    meta_model: Floats | None = None
    benchmark: Floats | None = None
    example: Floats | None = None

    def __post_init__(self) -> None:
        rows = int(self.bounds[-1])
        if len(self.bounds) != len(self.eras) + 1:
            raise InvalidInputError(f"{len(self.eras)} eras need {len(self.eras) + 1} bounds, not {len(self.bounds)}.")
        for name in ("targets", "meta_model", "benchmark", "example"):
            column = getattr(self, name)
            if column is not None and column.shape != (rows,):
                raise InvalidInputError(
                    f"{name} has the shape {column.shape}; one value for each of {rows} rows, please."
                )


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features that predictions are neutralised to.

    Attributes:
        source: the features of each era of the truth, in the same order.
        all: names of those for FNC and exposure; all of the source by default.
        v3: names of those for FNCv3, if it is wanted.
        kept: where factors are kept, by the folder's data version: made by `KeptFactors(folder, version, names)`.
    """

    source: FeatureSource
    all: Sequence[str] | None = None
    v3: Sequence[str] | None = None
    kept: Callable[[Sequence[str]], KeptFactors] | None = None

    def positions(self, names: Sequence[str] | None) -> Integers:
        """Where those features are in the source, ascending. Raises InvalidInputError for one that is not there."""
        if names is None:
            return np.arange(len(self.source.names))
        known = {name: position for position, name in enumerate(self.source.names)}
        lacking = [name for name in names if name not in known]
        if lacking:
            raise InvalidInputError(f"The data have no feature {lacking[0]}, which the feature set names.")
        return np.unique([known[name] for name in names])


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of each submission in each era, shape (eras, submissions), NaN where there is none.

    Attributes:
        eras: their names.
        rows: how many rows of the era the submission has.
        resolved: which eras have targets, shape (eras,).
        corr: CORR20v2.
        mmc: contribution to the meta model.
        bmc: contribution to the benchmark model.
        example_corr: CORR20v2 of the example predictions, shape (eras,).
        corr_with_example: correlation with the example predictions, both ranked.
        fnc: CORR20v2 of what is left beside all features.
        fnc_v3: the same with the features of the set v3.
        feature_corr_max: the largest correlation with a feature, by size.
        feature_corr_mean: the mean size of the correlations with features.
    """

    eras: Sequence[str]
    rows: NDArray[np.int64]
    resolved: NDArray[np.bool_]
    corr: Floats
    mmc: Floats
    bmc: Floats
    example_corr: Floats
    corr_with_example: Floats
    fnc: Floats
    fnc_v3: Floats
    feature_corr_max: Floats
    feature_corr_mean: Floats


def score(
    predictions: Floats,
    truth: Truth,
    features: Features | None = None,
    *,
    top_bottom: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """The scores of all submissions in all eras.

    `predictions` has the shape (rows, submissions), NaN where a submission lacks a row. With `top_bottom`, only that
    many of the highest and lowest predictions of an era count in each score. `progress(done, eras)` is called after
    each era. Takes memory for one era: with 2748 features and 5,500 rows some 300 MB, and 150 MB with factors kept.
    Raises InvalidInputError if shapes don't fit.
    """
    if predictions.ndim != 2 or len(predictions) != truth.bounds[-1]:
        raise InvalidInputError(
            f"The predictions have the shape {predictions.shape}; {int(truth.bounds[-1])} rows by submissions, please."
        )
    shape = (len(truth.eras), predictions.shape[1])
    found = {name: np.full(shape, np.nan) for name in _NAMES}
    example = np.full(shape[0], np.nan)
    rows = np.zeros(shape, dtype=np.int64)
    resolved = np.zeros(shape[0], dtype=np.bool_)
    wanted = None if features is None else _Wanted(features)
    for number in range(shape[0]):
        part = slice(int(truth.bounds[number]), int(truth.bounds[number + 1]))
        era = _Era(truth, part, top_bottom)
        resolved[number] = not np.isnan(era.targets).all()
        example[number] = era.of_example()
        values = features.source.values(number) if features else None
        for group in groups(np.ascontiguousarray(predictions[part].T, dtype=np.float64)):
            rows[number, group.columns] = group.values.shape[1]
            scores = era.of(group)
            if wanted is not None and values is not None:
                scores |= era.beside_features(group, values, wanted, truth.eras[number])
            for name, score_of in scores.items():
                found[name][number, group.columns] = score_of
        if progress:
            progress(number + 1, shape[0])
    return Scores(eras=tuple(truth.eras), rows=rows, resolved=resolved, example_corr=example, **found)


_NAMES = ("corr", "mmc", "bmc", "corr_with_example", "fnc", "fnc_v3", "feature_corr_max", "feature_corr_mean")


class _Wanted:
    """The features of each set by position, and where their factors are kept."""

    def __init__(self, features: Features) -> None:
        self.sets = {"fnc": features.positions(features.all)}
        if features.v3 is not None:
            self.sets["fnc_v3"] = features.positions(features.v3)
        names = features.source.names
        self.kept: Mapping[str, KeptFactors] = {}
        if features.kept:
            self.kept = {
                name: features.kept([names[position] for position in positions])
                for name, positions in self.sets.items()
            }
        self._whole = len(names)

    def matrix(self, name: str, values: NDArray[Any]) -> FeatureMatrix:
        if values.shape[0] != self._whole:
            raise InvalidInputError(f"An era has {values.shape[0]} features; the data have {self._whole}.")
        return FeatureMatrix(values=values).only(self.sets[name])

    def factor(self, name: str, era: str, matrix: FeatureMatrix) -> Factor:
        return self.kept[name].factor(era, matrix) if name in self.kept else factor_of(matrix)

    def residual(self, name: str, era: str, matrix: FeatureMatrix, factor: Factor, values: Floats) -> Floats:
        try:
            return factor.residual(matrix, values)
        except NotConvergedError:
            kept = self.kept[name].renewed(era, matrix) if name in self.kept else factor_of(matrix)
            return kept.residual(matrix, values)


class _Era:
    """One era's part of the truth."""

    def __init__(self, truth: Truth, part: slice, top_bottom: int | None) -> None:
        self.targets = np.asarray(truth.targets[part], dtype=np.float64)
        self.meta, self.benchmark, self.example = (
            None if column is None else np.asarray(column[part], dtype=np.float64)
            for column in (truth.meta_model, truth.benchmark, truth.example)
        )
        self._top_bottom = top_bottom

    def of_example(self) -> float:
        if self.example is None:
            return float("nan")
        found = [numerai_corr(group, self.targets, top_bottom=self._top_bottom) for group in groups(self.example[None])]
        return float(found[0][0]) if found else float("nan")

    def of(self, group: Submitted) -> dict[str, Floats]:
        """Scores that need no features."""
        scores = {"corr": numerai_corr(group, self.targets, top_bottom=self._top_bottom)}
        for name, model in (("mmc", self.meta), ("bmc", self.benchmark)):
            if model is not None:
                scores[name] = correlation_contribution(group, model, self.targets, top_bottom=self._top_bottom)
        if self.example is not None:
            both = group.rows & ~np.isnan(self.example)
            if both.any():
                ranks = broken_ranks(group.values[:, group.chosen(both)])
                scores["corr_with_example"] = pearson(ranks, broken_ranks(self.example[both][None])[0])
        return scores

    def beside_features(self, group: Submitted, values: NDArray[Any], wanted: _Wanted, era: str) -> dict[str, Floats]:
        """FNC of each set of features, and exposure to the features of FNC."""
        scores = {}
        gaussian = group.ranking().gaussian
        for name in wanted.sets:
            matrix = wanted.matrix(name, values)
            if group.complete:
                factor = wanted.factor(name, era, matrix)
                left = wanted.residual(name, era, matrix, factor, gaussian)
            else:
                matrix = matrix.within(group.rows)
                factor = factor_of(matrix)
                left = factor.residual(matrix, gaussian)
            scores[name] = neutral_corr_of(group, left, self.targets, self._top_bottom)
            if name == "fnc":
                exposure = self._exposure(group, matrix, factor)
                scores["feature_corr_max"], scores["feature_corr_mean"] = exposure
        return scores

    def _exposure(self, group: Submitted, matrix: FeatureMatrix, factor: Factor) -> tuple[Floats, Floats]:
        if self._top_bottom:
            whole = Submitted(group.columns, np.ones(matrix.rows, dtype=np.bool_), group.values)
            found = feature_correlations(whole, matrix, top_bottom=self._top_bottom)
        else:
            predictions = centred(group)
            found = ratios(matrix.times(predictions), predictions, factor.lengths)
        sizes = np.abs(found)
        some = ~np.isnan(sizes)
        count = some.sum(axis=1)
        largest = np.max(sizes, axis=1, initial=-1.0, where=some)
        total = np.sum(sizes, axis=1, where=some)
        return np.where(count, largest, np.nan), np.where(count, total / np.maximum(count, 1), np.nan)
