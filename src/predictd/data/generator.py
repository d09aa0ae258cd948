"""The random process behind a synthetic data version: features, and targets that depend on some of them.

Features come in families of neighbors that sometimes copy a common latent value, so that they correlate. Targets are
linear in a few hundred signal features plus a lot of noise, and each era rescales the effects of each skill group, so
that a model does well in some eras and badly in others. Benchmark models are the same kind of linear score with
inaccurate weights.

All weights are whole numbers and all sums of them exact in float64, so that the same seed gives the same values
regardless of the number of threads and the linear algebra library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.data.schema import (
    BENCHMARKED,
    FAMILY_SIZE,
    FEATURE_COUNT,
    HORIZONS,
    MEDIUM_COUNT,
    SKILLS,
    SMALL_COUNT,
    TARGET_NAMES,
    skill_of,
    spread,
)

Integers = NDArray[np.int8]
Floats = NDArray[np.float64]

_VALUES = 5
_VARIANCE = 2.0
"""The variance of a feature that is uniform over 0 to 4."""

# How many of 256 byte values copy the family's latent value; the rest is uniform over the five values.
_COPIES = (31, 56, 81, 106, 131, 156)

_EXTRA_MEDIUM = 120
_EXTRA_OTHER = 180
_SIGNAL_SHARES = (0.6, 0.2, 0.2)
_UNIT = 256
_ERA_SWING = 1.3
_OWN_NOISE = 0.6
_BENCHMARK_CORRELATION = 0.032
_BINS = (0.05, 0.25, 0.75, 0.95)

_WEIGHTS_STREAM, _HISTORY_STREAM, _LIVE_STREAM, _INTERIM_STREAM = range(4)


@dataclass(frozen=True, kw_only=True)
class Era:
    """The rows of one era.

    Attributes:
        features: int8 0 to 4, shape (2748, rows).
        targets: float32 0, 0.25, 0.5, 0.75 or 1, shape (number of `schema.TARGETS`, rows).
        benchmarks: float32 within 0 to 1, shape (number of `schema.BENCHMARKS`, rows).
        meta_model: float32 within 0 to 1, shape (rows,).
        example: float32 within 0 to 1, shape (rows,).
    """

    features: Integers
    targets: NDArray[np.float32]
    benchmarks: NDArray[np.float32]
    meta_model: NDArray[np.float32]
    example: NDArray[np.float32]


class EraGenerator:
    """Draws eras from `seed`; `signal` is the correlation of the best possible prediction with the target."""

    def __init__(self, *, seed: int, signal: float) -> None:
        self._seed = seed
        self._signal = signal
        rng = self._stream(_WEIGHTS_STREAM)
        self._copies = np.array(_COPIES)[rng.integers(len(_COPIES), size=-(-FEATURE_COUNT // FAMILY_SIZE))]
        self._columns, scale = _signal_columns(rng)
        self._skills = np.array([skill_of(int(j)) for j in self._columns])

        def weights(share: float = 1.0) -> Floats:
            return np.asarray(share * _UNIT * scale * rng.standard_normal(len(scale)))

        common = weights()
        weights_of = {name: np.rint(common + (0 if name == "ender" else weights(0.5))) for name in TARGET_NAMES}
        self._truth = np.stack([weights_of[name] for name in TARGET_NAMES])
        # For any signal, benchmark models correlate about as much with the target as Numerai's.
        error = weights(np.sqrt(max((signal / _BENCHMARK_CORRELATION) ** 2 - 1, 0.1)))
        benchmarks = [np.rint(weights_of[name] + error + weights(0.4)) for name in BENCHMARKED for _ in HORIZONS]
        meta = np.rint(np.mean(benchmarks, axis=0) + weights(0.3))
        in_medium = np.isin(self._columns, spread(MEDIUM_COUNT))
        example = np.where(in_medium, np.rint(common + error + weights(0.6)), 0.0)
        self._models = np.stack([*benchmarks, meta, example])
        self._scales = np.array([self._deviation(row) for row in self._truth])

    def history(self, era: int, rows: int) -> Era:
        """Return the training or validation era of that number."""
        return self._draw(self._stream(_HISTORY_STREAM, era), rows)

    def live(self, round_number: int, rows: int) -> Era:
        """Return the live era of a round, including its final targets."""
        return self._draw(self._stream(_LIVE_STREAM, round_number), rows)

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence([self._seed, *key])))

    def _draw(self, rng: np.random.Generator, rows: int) -> Era:
        features = self._features(rng, rows)
        centered = features[self._columns].astype(np.float64) - 2
        swings = np.rint(16 * (1 + _ERA_SWING * rng.standard_normal(len(SKILLS))))
        truth = (self._truth * swings[self._skills]) @ centered / (16 * self._scales[:, None])
        scores = self._models @ centered
        shared = rng.standard_normal(rows)
        targets = []
        for name, expected in enumerate(truth):
            for horizon in range(len(HORIZONS)):
                # The main target, the first, has only the shared noise.
                own = _OWN_NOISE if name or horizon else 0.0
                noise = np.sqrt(1 - own**2) * shared + own * rng.standard_normal(rows)
                targets.append(binned(self._signal * expected + np.sqrt(1 - self._signal**2) * noise))
        *benchmarks, meta_model, example = (_ranked(score) for score in scores)
        return Era(
            features=features,
            targets=np.stack([targets[0], *targets]),
            benchmarks=np.stack(benchmarks),
            meta_model=meta_model,
            example=example,
        )

    def _features(self, rng: np.random.Generator, rows: int) -> Integers:
        """Draw features of shape (2748, rows); each value is one random byte through a lookup table, which is fast."""
        drawn = np.empty((FEATURE_COUNT, rows), dtype=np.int8)
        for family, copies in enumerate(self._copies):
            members = drawn[family * FAMILY_SIZE : (family + 1) * FAMILY_SIZE]
            text = rng.bytes(members.size).translate(_table(int(copies)))
            members[:] = np.frombuffer(text, dtype=np.int8).reshape(members.shape)
            latent = rng.integers(_VALUES, size=rows, dtype=np.int8)
            np.copyto(members, latent, where=members < 0)
        return drawn

    def _deviation(self, weights: Floats) -> float:
        """Return the standard deviation of a linear score of the features in an era without swings."""
        copied = self._copies[self._columns // FAMILY_SIZE] / 256
        by_family = np.bincount(self._columns // FAMILY_SIZE, weights=weights * copied)
        return float(np.sqrt(_VARIANCE * (np.sum(weights**2 * (1 - copied**2)) + np.sum(by_family**2))))


def row_ids(seed: int, block: int, first: int, count: int) -> list[str]:
    """Return ids such as 'n00a1b2c3d4e5f607' for `count` rows of a block, starting at row `first`.

    Ids are unique within a version: row numbers go through a bijection of 64-bit numbers (splitmix64). Block 0 is the
    history, block n + 1 the live rows of round n.
    """
    mask = (1 << 64) - 1
    start = ((block << 32) + first + seed * 0x9E3779B97F4A7C15) & mask
    z = np.arange(count, dtype=np.uint64) + np.uint64(start)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    text = z.astype(">u8").tobytes().hex()
    return ["n" + text[at : at + 16] for at in range(0, 16 * count, 16)]


def _signal_columns(rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Return the features with an effect, including all small features, and the mean size of their effects."""
    small = spread(SMALL_COUNT)
    medium = sorted(set(spread(MEDIUM_COUNT)) - set(small))
    outside_medium = sorted(set(range(FEATURE_COUNT)) - set(spread(MEDIUM_COUNT)))
    groups: Sequence[Any] = (
        small,
        rng.choice(medium, _EXTRA_MEDIUM, replace=False),
        rng.choice(outside_medium, _EXTRA_OTHER, replace=False),
    )
    scales = [np.full(len(g), np.sqrt(share / len(g))) for g, share in zip(groups, _SIGNAL_SHARES, strict=True)]
    return np.concatenate([np.asarray(g, dtype=np.int64) for g in groups]), np.concatenate(scales)


def _table(copies: int) -> bytes:
    """Return a `bytes.translate` table: `copies` bytes become -1 (copy the latent value), the rest 0 to 4 uniformly."""
    return bytes([255] * copies + [value * _VALUES // (256 - copies) for value in range(256 - copies)])


def _order(score: Floats) -> NDArray[np.int64]:
    """Return the rank of each row, 0 for the lowest."""
    ranks = np.empty(len(score), dtype=np.int64)
    ranks[np.argsort(score, kind="stable")] = np.arange(len(score))
    return ranks


def _ranked(score: Floats) -> NDArray[np.float32]:
    return ((_order(score) + 0.5) / len(score)).astype(np.float32)


def binned(score: Floats) -> NDArray[np.float32]:
    """Assign 0, 0.25, 0.5, 0.75 and 1 to 5, 20, 50, 20 and 5 percent of the rows, by ascending score."""
    quantiles = (_order(score) + 0.5) / len(score)
    return (np.searchsorted(_BINS, quantiles) / 4).astype(np.float32)


def interim_targets(final: Floats, *, day: int, days: int, seed: int) -> Floats:
    """Return the provisional targets on one of the days 1 to `days`; on the last day, the final targets.

    They approach the final targets like a random walk: the correlation grows with the square root of day / days. They
    take the same values, 0 to 1 in quarters, with the usual frequencies. `seed` identifies the round; the same seed
    gives the same path.
    """
    if day >= days:
        return final
    rng = np.random.default_rng([seed, _INTERIM_STREAM])
    # A random walk with one step per day, whose end is fixed to the final score.
    end = final - final.mean() + 0.05 * rng.standard_normal(len(final))
    end /= max(float(end.std()), 1e-12)
    steps = rng.standard_normal((days, len(final)))
    walk = np.cumsum(steps, axis=0) / np.sqrt(days)
    share = day / days
    return np.asarray(binned(share * end + (walk[day - 1] - share * walk[-1])), dtype=np.float64)
