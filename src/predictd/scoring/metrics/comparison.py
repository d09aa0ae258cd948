"""Two models beside each other, era by era: by how much their figures differ, and whether that can be chance."""

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
"""The series whose means decide which model is better: they are what is paid for."""
_SURE = " with 95 % confidence"
_NO_GAIN = ("feature_corr_max",)
"""Series that are no gains, so that they have no Sharpe."""


class Outcome(StrEnum):
    """What a comparison comes to, for the other model."""

    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"
    CHANCE = "chance"
    SAME = "same"
    TOO_FEW_ERAS = "too_few_eras"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much one figure differs, over the eras that both models have.

    Attributes:
        metric: name of the series, a key of SERIES.
        statistic: 'mean' or 'sharpe'.
        base: the figure of the model that is compared with.
        other: the figure of the other one.
        low: the difference lies with 95 % confidence between this and `high`; None of too few eras.
        high: the same.
        eras: how many eras both have.
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
        """The other model's figure less that of the base."""
        return self.other - self.base

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves no difference out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def wire(self) -> dict[str, Any]:
        """Its fields as JSON has them."""
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
    """What the other model is, compared with the base.

    Attributes:
        base: name of the model that is compared with.
        other: name of the other one.
        eras: eras in which both have CORR.
        block: eras of a block of the bootstrap.
        differences: of each series that both have, the mean and the Sharpe.
        correlation: mean over eras of Spearman's correlation of their predictions, if these were given.
    """

    base: str
    other: str
    eras: int
    block: int
    differences: tuple[Difference, ...]
    correlation: float | None = None

    def difference(self, metric: str, statistic: str = "mean") -> Difference | None:
        """That of one figure, if both models have it."""
        found = (one for one in self.differences if (one.metric, one.statistic) == (metric, statistic))
        return next(found, None)

    @property
    def judged(self) -> tuple[Difference, ...]:
        """The differences that decide: those of the means of CORR and MMC."""
        return tuple(found for metric in _JUDGED if (found := self.difference(metric)) is not None)

    @property
    def outcome(self) -> Outcome:
        """Better or worse where CORR or MMC surely differ and don't contradict each other."""
        if not self.judged or any(one.low is None for one in self.judged):
            return Outcome.TOO_FEW_ERAS
        if all(one.low == one.high == 0 for one in self.judged):
            return Outcome.SAME
        signs = {one.value > 0 for one in self.judged if one.is_significant}
        if not signs:
            return Outcome.CHANCE
        if len(signs) > 1:
            return Outcome.MIXED
        return Outcome.BETTER if signs.pop() else Outcome.WORSE

    @property
    def verdict(self) -> str:
        """The outcome in a sentence or two, with the figures that it rests on."""
        told = [self._told(), self._alike()]
        return " ".join(sentence for sentence in told if sentence)

    def wire(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "base": self.base,
            "other": self.other,
            "outcome": self.outcome.value,
            "verdict": self.verdict,
            "eras": self.eras,
            "blockLength": self.block,
            "confidence": bootstrap.CONFIDENCE,
            "correlation": self.correlation,
            "differences": [one.wire() for one in self.differences],
        }

    def _told(self) -> str:
        sure = _listed([_by(one) for one in self.judged if one.is_significant])
        rest = _listed([_by(one) for one in self.judged if not one.is_significant])
        match self.outcome:
            case Outcome.TOO_FEW_ERAS:
                return self._too_few(rest)
            case Outcome.SAME:
                return f"{self.other} scores as {self.base} does in all {self.eras} eras."
            case Outcome.CHANCE:
                return f"The difference can be chance: compared with {self.base}, {self.other} has {rest}{_SURE}."
            case Outcome.MIXED:
                return f"{self.other} beats {self.base} in one thing and not in another: it has {sure}{_SURE}."
            case outcome:
                chance = f" That it has {rest} can be chance." if rest else ""
                return f"{self.other} is {outcome.value} than {self.base}: it has {sure}{_SURE}.{chance}"

    def _too_few(self, rest: str) -> str:
        if not self.eras:
            return f"{self.base} and {self.other} have no era in common, so they can't be compared."
        so_far = f" So far {self.other} has {rest}." if rest else ""
        return (
            f"Too few eras to tell: {self.base} and {self.other} have {self.eras} in common, and it takes "
            f"{bootstrap.fewest_eras(self.block)}.{so_far}"
        )

    def _alike(self) -> str:
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
    """How `other` differs from `base`, over the eras that both have, matched by their names.

    Args:
        base: the model that is compared with.
        other: the other one.
        names: what to call the two.
        correlations: what `correlations_by_era` gave for their predictions, if they are at hand.
        block: eras of a block, 1 or more; the default is that of `bootstrap.block_length`.
        samples: how often eras are drawn.
        seed: what the draws follow from; the same seed gives the same intervals.

    Raises:
        InvalidInputError: a block has no eras.
    """
    if block is not None and block < 1:
        raise InvalidInputError(f"A block of {block} eras is none; give 1 or more.")
    pairs = {name: _common(base, other, name) for name in SERIES}
    eras = pairs["corr"].shape[1]
    drawn: dict[int, _Drawn] = {}
    differences = []
    for name, both in pairs.items():
        count = both.shape[1]
        if count not in drawn:
            drawn[count] = _Drawn.of(count, block or bootstrap.block_length(count), samples, seed)
        for statistic in ("mean",) if name in _NO_GAIN else tuple(_STATISTICS):
            found = _difference(name, statistic, both, drawn[count])
            if found is not None:
                differences.append(found)
    known = None if correlations is None else summaries.present(correlations)
    return Comparison(
        base=names[0],
        other=names[1],
        eras=eras,
        block=block or bootstrap.block_length(eras),
        differences=tuple(differences),
        correlation=None if known is None or not len(known) else summaries.mean(known),
    )


def correlations_by_era(first: Floats, second: Floats, bounds: Integers) -> Floats:
    """Spearman's correlation of two models' predictions in each era, shape (eras,), over the rows that both have.

    Predictions have the shape (rows,), NaN where missing; `bounds` are those of Truth. NaN where an era has no two rows
    of both or one of them has a single value.
    """
    found = np.full(len(bounds) - 1, np.nan)
    for number in range(len(found)):
        part = slice(int(bounds[number]), int(bounds[number + 1]))
        both = ~np.isnan(first[part]) & ~np.isnan(second[part])
        if both.sum() > 1:
            ranks = [Ranking.of(values[part][both][None]).doubled.astype(np.float64) for values in (first, second)]
            found[number] = pearson(ranks[0], ranks[1][0])[0]
    return found


def _common(base: Diagnostics, other: Diagnostics, name: str) -> Floats:
    """The scores of both in the eras that both have, shape (2, eras)."""
    values = dict(zip(_eras(other), series(other, name), strict=True))
    theirs = np.array([values.get(era, np.nan) for era in _eras(base)], dtype=np.float64)
    both = np.stack([series(base, name), theirs])
    return np.asarray(both[:, ~np.isnan(both).any(axis=0)])


def _eras(diagnostics: Diagnostics) -> list[str]:
    return [era.era for era in diagnostics.per_era_diagnostics]


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """The samples for so many eras, None if there are too few for any."""

    block: int
    rows: Integers | None

    @classmethod
    def of(cls, eras: int, block: int, samples: int, seed: int) -> "_Drawn":
        enough = eras >= bootstrap.fewest_eras(block)
        return cls(block=block, rows=bootstrap.draws(eras, block, samples, seed) if enough else None)


def _difference(metric: str, statistic: str, both: Floats, drawn: _Drawn) -> Difference | None:
    of_one, of_samples = _STATISTICS[statistic]
    figures = of_one(both[0]), of_one(both[1])
    if np.isnan(figures).any():
        return None
    found = None
    if drawn.rows is not None:
        found = bootstrap.interval(both[0], both[1], of_samples, drawn.rows, drawn.block)
    low, high = found or (None, None)
    return Difference(
        metric=metric, statistic=statistic, base=figures[0], other=figures[1], low=low, high=high, eras=both.shape[1]
    )


def _by(difference: Difference) -> str:
    """'0.0041 more CORR (0.0012 to 0.0070)', all positive if the difference is sure."""
    more = difference.value >= 0
    text = f"{abs(difference.value):.4f} {'more' if more else 'less'} {LABELS[difference.metric]}"
    if difference.low is None or difference.high is None:
        return text
    ends = (difference.low, difference.high) if more else (-difference.high, -difference.low)
    low, high = (f"{end:.4f}".replace("-", "−") for end in ends)  # noqa: RUF001 (a minus sign)
    return f"{text} ({low} to {high})"


def _listed(parts: list[str]) -> str:
    return " and ".join(parts)
