"""Score each submission in each era, for all eras and many submissions at once.

Eras are processed one at a time, so that only the features of one era are in memory. In an era, each submission is
ranked once for all metrics, and features are multiplied with all submissions together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from predictd.domain.errors import InvalidInputError
from predictd.scoring.metrics.contribution import correlation_contribution
from predictd.scoring.metrics.correlation import broken_ranks, neutral_corr_of, numerai_corr, pearson
from predictd.scoring.metrics.era_batch import SubmissionGroup, groups
from predictd.scoring.metrics.exposure import centered, feature_correlations, ratios
from predictd.scoring.metrics.factor_cache import FactorCache
from predictd.scoring.metrics.factors import Factor, NotConvergedError, factor_of
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.ranks import Floats, Integers

Progress = Callable[[int, int], None]


class FeatureSource(Protocol):
    """The source of features, such as MappedFeatures: `values(i)` are those of the i-th era, (features, rows)."""

    names: Sequence[str]

    def values(self, number: int) -> NDArray[Any]:
        """Return the features of an era, with rows in the order of the predictions."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Targets and other models that predictions are scored against, with the rows of each era together.

    Attributes:
        eras: names of the eras, in time order.
        bounds: the first row of each era and the number of rows, shape (eras + 1,).
        targets: shape (rows,), NaN where missing, as in all columns.
        meta_model: predictions of the meta model, (rows,), or None, as in the fields below.
        benchmark: predictions of the benchmark model, for BMC.
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
                    f"{name} has the shape {column.shape}, but needs one value for each of {rows} rows."
                )


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features to which predictions are neutralized.

    Attributes:
        source: the features of each era of the truth, in the same order.
        all: the features for FNC and exposure; all of the source by default.
        v3: the features for FNCv3, or None to skip it.
        cache: returns the cache of the factors of some features, or None for no cache.
    """

    source: FeatureSource
    all: Sequence[str] | None = None
    v3: Sequence[str] | None = None
    cache: Callable[[Sequence[str]], FactorCache] | None = None

    def positions(self, names: Sequence[str] | None) -> Integers:
        """Return the ascending positions of features in the source. Raises InvalidInputError if one is missing."""
        if names is None:
            return np.arange(len(self.source.names))
        position_of = {name: position for position, name in enumerate(self.source.names)}
        missing = [name for name in names if name not in position_of]
        if missing:
            raise InvalidInputError(f"The data has no feature {missing[0]}, which the feature set contains.")
        return np.unique([position_of[name] for name in names])


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of each submission in each era, shape (eras, submissions), NaN where missing.

    Attributes:
        eras: names of the eras.
        rows: the number of rows of the era that the submission has.
        resolved: which eras have targets, shape (eras,).
        corr: CORR20v2.
        mmc: contribution to the meta model.
        bmc: contribution to the benchmark model.
        example_corr: CORR20v2 of the example predictions, shape (eras,).
        corr_with_example: correlation with the example predictions, both ranked.
        fnc: CORR20v2 after neutralization to all features.
        fnc_v3: the same with the features of the set v3.
        feature_corr_max: the largest absolute correlation with a feature.
        feature_corr_mean: the mean absolute correlation with features.
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
    """Return the scores of all submissions in all eras.

    `predictions` has the shape (rows, submissions), NaN where a submission lacks a row. With `top_bottom`, only that
    many of the highest and lowest predictions of an era count in each score. `progress(done, eras)` is called after
    each era. Needs memory for one era: about 300 MB with 2748 features and 5,500 rows, and 150 MB with cached factors.
    Raises InvalidInputError if shapes do not match.
    """
    if predictions.ndim != 2 or len(predictions) != truth.bounds[-1]:
        raise InvalidInputError(
            f"The predictions have the shape {predictions.shape}, but need {int(truth.bounds[-1])} rows by submissions."
        )
    shape = (len(truth.eras), predictions.shape[1])
    scores_by_name = {name: np.full(shape, np.nan) for name in _NAMES}
    example = np.full(shape[0], np.nan)
    rows = np.zeros(shape, dtype=np.int64)
    resolved = np.zeros(shape[0], dtype=np.bool_)
    feature_sets = None if features is None else _FeatureSets(features)
    for number in range(shape[0]):
        part = slice(int(truth.bounds[number]), int(truth.bounds[number + 1]))
        era = _Era(truth, part, top_bottom)
        resolved[number] = not np.isnan(era.targets).all()
        example[number] = era.of_example()
        values = features.source.values(number) if features else None
        for group in groups(np.ascontiguousarray(predictions[part].T, dtype=np.float64)):
            rows[number, group.columns] = group.values.shape[1]
            scores = era.of(group)
            if feature_sets is not None and values is not None:
                scores |= era.with_features(group, values, feature_sets, truth.eras[number])
            for name, score_of in scores.items():
                scores_by_name[name][number, group.columns] = score_of
        if progress:
            progress(number + 1, shape[0])
    return Scores(eras=tuple(truth.eras), rows=rows, resolved=resolved, example_corr=example, **scores_by_name)


_NAMES = ("corr", "mmc", "bmc", "corr_with_example", "fnc", "fnc_v3", "feature_corr_max", "feature_corr_mean")


class _FeatureSets:
    """The features of each set by position, and the caches of their factors."""

    def __init__(self, features: Features) -> None:
        self.sets = {"fnc": features.positions(features.all)}
        if features.v3 is not None:
            self.sets["fnc_v3"] = features.positions(features.v3)
        names = features.source.names
        self.caches: Mapping[str, FactorCache] = {}
        if features.cache:
            self.caches = {
                name: features.cache([names[position] for position in positions])
                for name, positions in self.sets.items()
            }
        self._count = len(names)

    def matrix(self, name: str, values: NDArray[Any]) -> FeatureMatrix:
        if values.shape[0] != self._count:
            raise InvalidInputError(f"An era has {values.shape[0]} features, but the data has {self._count}.")
        return FeatureMatrix(values=values).only(self.sets[name])

    def factor(self, name: str, era: str, matrix: FeatureMatrix) -> Factor:
        return self.caches[name].factor(era, matrix) if name in self.caches else factor_of(matrix)

    def residual(self, name: str, era: str, matrix: FeatureMatrix, factor: Factor, values: Floats) -> Floats:
        try:
            return factor.residual(matrix, values)
        except NotConvergedError:
            factor = self.caches[name].renew(era, matrix) if name in self.caches else factor_of(matrix)
            return factor.residual(matrix, values)


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
        scores = [
            numerai_corr(group, self.targets, top_bottom=self._top_bottom) for group in groups(self.example[None])
        ]
        return float(scores[0][0]) if scores else float("nan")

    def of(self, group: SubmissionGroup) -> dict[str, Floats]:
        """Return the scores that need no features."""
        scores = {"corr": numerai_corr(group, self.targets, top_bottom=self._top_bottom)}
        for name, model in (("mmc", self.meta), ("bmc", self.benchmark)):
            if model is not None:
                scores[name] = correlation_contribution(group, model, self.targets, top_bottom=self._top_bottom)
        if self.example is not None:
            both = group.rows & ~np.isnan(self.example)
            if both.any():
                ranks = broken_ranks(group.values[:, group.selection(both)])
                scores["corr_with_example"] = pearson(ranks, broken_ranks(self.example[both][None])[0])
        return scores

    def with_features(
        self, group: SubmissionGroup, values: NDArray[Any], feature_sets: _FeatureSets, era: str
    ) -> dict[str, Floats]:
        """Return FNC for each set of features, and exposure to the features of FNC."""
        scores = {}
        gaussian = group.ranking().gaussian
        for name in feature_sets.sets:
            matrix = feature_sets.matrix(name, values)
            if group.complete:
                factor = feature_sets.factor(name, era, matrix)
                residual = feature_sets.residual(name, era, matrix, factor, gaussian)
            else:
                matrix = matrix.within(group.rows)
                factor = factor_of(matrix)
                residual = factor.residual(matrix, gaussian)
            scores[name] = neutral_corr_of(group, residual, self.targets, self._top_bottom)
            if name == "fnc":
                exposure = self._exposure(group, matrix, factor)
                scores["feature_corr_max"], scores["feature_corr_mean"] = exposure
        return scores

    def _exposure(self, group: SubmissionGroup, matrix: FeatureMatrix, factor: Factor) -> tuple[Floats, Floats]:
        if self._top_bottom:
            all_rows = SubmissionGroup(group.columns, np.ones(matrix.rows, dtype=np.bool_), group.values)
            correlations = feature_correlations(all_rows, matrix, top_bottom=self._top_bottom)
        else:
            predictions = centered(group)
            correlations = ratios(matrix.times(predictions), predictions, factor.lengths)
        sizes = np.abs(correlations)
        is_present = ~np.isnan(sizes)
        count = is_present.sum(axis=1)
        largest = np.max(sizes, axis=1, initial=-1.0, where=is_present)
        total = np.sum(sizes, axis=1, where=is_present)
        return np.where(count, largest, np.nan), np.where(count, total / np.maximum(count, 1), np.nan)
