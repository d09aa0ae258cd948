"""Compare two models era by era: how much their metrics differ, and whether that may be chance."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from predictd.domain.errors import InvalidInputError
from predictd.scoring.metrics import bootstrap, summaries
from predictd.scoring.metrics.correlation import pearson
from predictd.scoring.metrics.diagnostics import Diagnostics
from predictd.scoring.metrics.ranks import Floats, Integers, Ranking
from predictd.scoring.metrics.series import LABELS, SERIES, series

_STATISTICS = MappingProxyType(
    {"mean": (summaries.mean, bootstrap.means), "sharpe": (summaries.sharpe, bootstrap.sharpes)}
)
_JUDGED = ("corr", "mmc")
"""The series whose means decide which model is better, because payouts depend on them."""
_CONFIDENT = " with 95% confidence"
_WITHOUT_SHARPE = ("feature_corr_max",)
"""Series that are not gains, so a Sharpe is meaningless."""


class Outcome(StrEnum):
    """The outcome of a comparison, for the other model."""

    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"
    CHANCE = "chance"
    SAME = "same"
    TOO_FEW_ERAS = "too_few_eras"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of one metric over the eras that both models have.

    Attributes:
        metric: name of the series, a key of SERIES.
        statistic: 'mean' or 'sharpe'.
        base: the value of the base model.
        other: the value of the other model.
        low: lower end of the 95% confidence interval; None for too few eras.
        high: upper end of the interval.
        eras: the number of eras that both have.
    """

    metric: str
    statistic: str
    base: float
    other: float
    low: float | None
    high: float | None
    eras: int

    @property
    def value(self) -> float:
        """The other model's value minus that of the base."""
        return self.other - self.base

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def wire(self) -> dict[str, Any]:
        """Return its fields as JSON."""
        return {
            "metric": self.metric,
            "statistic": self.statistic,
            "base": self.base,
            "other": self.other,
            "difference": self.value,
            "low": self.low,
            "high": self.high,
            "eras": self.eras,
            "sure": self.is_significant,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of another model with a base model.

    Attributes:
        base: name of the base model.
        other: name of the other model.
        eras: eras in which both have CORR.
        block: eras of a block of the bootstrap.
        differences: the mean and the Sharpe of each series that both have.
        correlation: mean over eras of Spearman's correlation of their predictions, or None.
    """

    base: str
    other: str
    eras: int
    block: int
    differences: tuple[Difference, ...]
    correlation: float | None = None

    def difference(self, metric: str, statistic: str = "mean") -> Difference | None:
        """Return the difference of one metric, or None."""
        matches = (
            difference
            for difference in self.differences
            if (difference.metric, difference.statistic) == (metric, statistic)
        )
        return next(matches, None)

    @property
    def judged(self) -> tuple[Difference, ...]:
        """The differences that decide: the means of CORR and MMC."""
        return tuple(difference for metric in _JUDGED if (difference := self.difference(metric)) is not None)

    @property
    def outcome(self) -> Outcome:
        """Better or worse if CORR or MMC differ significantly and do not contradict each other."""
        if not self.judged or any(difference.low is None for difference in self.judged):
            return Outcome.TOO_FEW_ERAS
        if all(difference.low == difference.high == 0 for difference in self.judged):
            return Outcome.SAME
        signs = {difference.value > 0 for difference in self.judged if difference.is_significant}
        if not signs:
            return Outcome.CHANCE
        if len(signs) > 1:
            return Outcome.MIXED
        return Outcome.BETTER if signs.pop() else Outcome.WORSE

    @property
    def verdict(self) -> str:
        """The outcome in a sentence or two, with its metrics."""
        sentences = [self._result(), self._correlation()]
        return " ".join(sentence for sentence in sentences if sentence)

    def wire(self) -> dict[str, Any]:
        """Return the comparison as JSON."""
        return {
            "base": self.base,
            "other": self.other,
            "outcome": self.outcome.value,
            "verdict": self.verdict,
            "eras": self.eras,
            "blockLength": self.block,
            "confidence": bootstrap.CONFIDENCE,
            "correlation": self.correlation,
            "differences": [difference.wire() for difference in self.differences],
        }

    def _result(self) -> str:
        significant = _join([_describe(difference) for difference in self.judged if difference.is_significant])
        rest = _join([_describe(difference) for difference in self.judged if not difference.is_significant])
        match self.outcome:
            case Outcome.TOO_FEW_ERAS:
                return self._too_few(rest)
            case Outcome.SAME:
                return f"{self.other} scores the same as {self.base} in all {self.eras} eras."
            case Outcome.CHANCE:
                return f"The difference may be chance: compared with {self.base}, {self.other} has {rest}{_CONFIDENT}."
            case Outcome.MIXED:
                verdict = f"{self.other} is better than {self.base} in one score and worse in another"
                return f"{verdict}: it has {significant}{_CONFIDENT}."
            case outcome:
                chance = f" The difference of {rest} may be chance." if rest else ""
                return f"{self.other} is {outcome.value} than {self.base}: it has {significant}{_CONFIDENT}.{chance}"

    def _too_few(self, rest: str) -> str:
        if not self.eras:
            return f"{self.base} and {self.other} have no era in common, so they can't be compared."
        so_far = f" So far {self.other} has {rest}." if rest else ""
        return (
            f"Too few eras to compare: {self.base} and {self.other} have {self.eras} in common, but need "
            f"{bootstrap.min_eras(self.block)}.{so_far}"
        )

    def _correlation(self) -> str:
        return "" if self.correlation is None else f"Their predictions are {self.correlation:.2f} correlated."


def compare(
    base: Diagnostics,
    other: Diagnostics,
    *,
    names: tuple[str, str] = ("A", "B"),
    correlations: Floats | None = None,
    block: int | None = None,
    samples: int = bootstrap.SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare `other` with `base`, over the eras that both have, matched by name.

    Args:
        base: the base model.
        other: the other model.
        names: the names of the two models.
        correlations: the result of `correlations_by_era` for their predictions, if available.
        block: eras of a block, 1 or more; by default `bootstrap.block_length`.
        samples: the number of bootstrap samples.
        seed: the random seed; the same seed gives the same intervals.

    Raises:
        InvalidInputError: `block` is less than 1.
    """
    if block is not None and block < 1:
        raise InvalidInputError(f"block is {block}. Pass 1 or more eras.")
    pairs = {name: _common(base, other, name) for name in SERIES}
    eras = pairs["corr"].shape[1]
    drawn: dict[int, _Samples] = {}
    differences = []
    for name, scores in pairs.items():
        count = scores.shape[1]
        if count not in drawn:
            drawn[count] = _Samples.of(count, block or bootstrap.block_length(count), samples, seed)
        for statistic in ("mean",) if name in _WITHOUT_SHARPE else tuple(_STATISTICS):
            difference = _difference(name, statistic, scores, drawn[count])
            if difference is not None:
                differences.append(difference)
    present = None if correlations is None else summaries.present(correlations)
    return Comparison(
        base=names[0],
        other=names[1],
        eras=eras,
        block=block or bootstrap.block_length(eras),
        differences=tuple(differences),
        correlation=None if present is None or not len(present) else summaries.mean(present),
    )


def correlations_by_era(first: Floats, second: Floats, bounds: Integers) -> Floats:
    """Return Spearman's correlation of two models' predictions in each era, shape (eras,), over common rows.

    Predictions have the shape (rows,), NaN where missing; `bounds` are those of Truth. NaN if an era has fewer than two
    common rows or a model has a single value.
    """
    correlations = np.full(len(bounds) - 1, np.nan)
    for number in range(len(correlations)):
        part = slice(int(bounds[number]), int(bounds[number + 1]))
        in_both = ~np.isnan(first[part]) & ~np.isnan(second[part])
        if in_both.sum() > 1:
            ranks = [Ranking.of(values[part][in_both][None]).doubled.astype(np.float64) for values in (first, second)]
            correlations[number] = pearson(ranks[0], ranks[1][0])[0]
    return correlations


def _common(base: Diagnostics, other: Diagnostics, name: str) -> Floats:
    """Return the scores of both in the eras that both have, shape (2, eras)."""
    values = dict(zip(_eras(other), series(other, name), strict=True))
    other_scores = np.array([values.get(era, np.nan) for era in _eras(base)], dtype=np.float64)
    scores = np.stack([series(base, name), other_scores])
    return np.asarray(scores[:, ~np.isnan(scores).any(axis=0)])


def _eras(diagnostics: Diagnostics) -> list[str]:
    return [era.era for era in diagnostics.per_era_diagnostics]


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """The samples for a number of eras, None if there are too few eras."""

    block: int
    rows: Integers | None

    @classmethod
    def of(cls, eras: int, block: int, samples: int, seed: int) -> "_Samples":
        has_enough = eras >= bootstrap.min_eras(block)
        return cls(block=block, rows=bootstrap.draws(eras, block, samples, seed) if has_enough else None)


def _difference(metric: str, statistic: str, scores: Floats, samples: _Samples) -> Difference | None:
    statistic_of, statistic_of_samples = _STATISTICS[statistic]
    figures = statistic_of(scores[0]), statistic_of(scores[1])
    if np.isnan(figures).any():
        return None
    bounds = None
    if samples.rows is not None:
        bounds = bootstrap.interval(scores[0], scores[1], statistic_of_samples, samples.rows, samples.block)
    low, high = bounds or (None, None)
    return Difference(
        metric=metric, statistic=statistic, base=figures[0], other=figures[1], low=low, high=high, eras=scores.shape[1]
    )


def _describe(difference: Difference) -> str:
    """Return '0.0041 more CORR (0.0012 to 0.0070)', all positive if the difference is significant."""
    more = difference.value >= 0
    text = f"{abs(difference.value):.4f} {'more' if more else 'less'} {LABELS[difference.metric]}"
    if difference.low is None or difference.high is None:
        return text
    ends = (difference.low, difference.high) if more else (-difference.high, -difference.low)
    low, high = (f"{end:.4f}".replace("-", "−") for end in ends)  # noqa: RUF001 (a minus sign)
    return f"{text} ({low} to {high})"


def _join(parts: list[str]) -> str:
    return " and ".join(parts)
