"""The random process behind a synthetic data version: features, and targets that depend on some of them.

Features come in families of neighbours that copy a common latent value now and then, so that they correlate. Targets
are linear in a few hundred signal features plus much noise, and each era scales the effects of each skill group anew,
so that a model does well in some eras and badly in others. Benchmark models are the same kind of linear score with
wrong weights.

All weights are whole numbers and all sums of them exact in float64, so that the same seed gives the same values
whatever the number of threads or the linear algebra library.
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
"""Of a feature that takes 0 to 4 with equal probability."""

# How many of 256 byte values copy the family's latent value; the others fall evenly on the five values.
_COPIES = (31, 56, 81, 106, 131, 156)

_EXTRA_MEDIUM = 120
_EXTRA_OTHER = 180
_SIGNAL_SHARES = (0.6, 0.2, 0.2)
_UNIT = 256
_ERA_SWING = 1.3
_OWN_NOISE = 0.6
_BENCHMARK_CORRELATION = 0.032
_BINS = (0.05, 0.25, 0.75, 0.95)

_WEIGHTS_STREAM, _HISTORY_STREAM, _LIVE_STREAM = range(3)


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


class Process:
    """Draws eras; everything follows from `seed`, and `signal` is the best prediction's correlation with the target."""

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
        own = {name: np.rint(common + (0 if name == "ender" else weights(0.5))) for name in TARGET_NAMES}
        self._truth = np.stack([own[name] for name in TARGET_NAMES])
        # However strong the signal, benchmark models find about as much of it as Numerai's.
        error = weights(np.sqrt(max((signal / _BENCHMARK_CORRELATION) ** 2 - 1, 0.1)))
        benchmarks = [np.rint(own[name] + error + weights(0.4)) for name in BENCHMARKED for _ in HORIZONS]
        meta = np.rint(np.mean(benchmarks, axis=0) + weights(0.3))
        known = np.isin(self._columns, spread(MEDIUM_COUNT))
        example = np.where(known, np.rint(common + error + weights(0.6)), 0.0)
        self._models = np.stack([*benchmarks, meta, example])
        self._scales = np.array([self._deviation(row) for row in self._truth])

    def history(self, era: int, rows: int) -> Era:
        """The era of that number, in the training or the validation data."""
        return self._draw(self._stream(_HISTORY_STREAM, era), rows)

    def live(self, round_number: int, rows: int) -> Era:
        """The live era of that round, with the targets that it resolves to."""
        return self._draw(self._stream(_LIVE_STREAM, round_number), rows)

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence([self._seed, *key])))

    def _draw(self, rng: np.random.Generator, rows: int) -> Era:
        features = self._features(rng, rows)
        centred = features[self._columns].astype(np.float64) - 2
        swings = np.rint(16 * (1 + _ERA_SWING * rng.standard_normal(len(SKILLS))))
        truth = (self._truth * swings[self._skills]) @ centred / (16 * self._scales[:, None])
        scores = self._models @ centred
        shared = rng.standard_normal(rows)
        targets = []
        for name, expected in enumerate(truth):
            for horizon in range(len(HORIZONS)):
                # The main target, the first in line, carries the shared noise alone.
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
        """Shape (2748, rows); each value is one random byte through a table, which is what makes this fast."""
        drawn = np.empty((FEATURE_COUNT, rows), dtype=np.int8)
        for family, copies in enumerate(self._copies):
            members = drawn[family * FAMILY_SIZE : (family + 1) * FAMILY_SIZE]
            text = rng.bytes(members.size).translate(_table(int(copies)))
            members[:] = np.frombuffer(text, dtype=np.int8).reshape(members.shape)
            latent = rng.integers(_VALUES, size=rows, dtype=np.int8)
            np.copyto(members, latent, where=members < 0)
        return drawn

    def _deviation(self, weights: Floats) -> float:
        """Standard deviation of a linear score of the features in an era without swings."""
        copied = self._copies[self._columns // FAMILY_SIZE] / 256
        together = np.bincount(self._columns // FAMILY_SIZE, weights=weights * copied)
        return float(np.sqrt(_VARIANCE * (np.sum(weights**2 * (1 - copied**2)) + np.sum(together**2))))


def row_ids(seed: int, block: int, first: int, count: int) -> list[str]:
    """Ids such as 'n00a1b2c3d4e5f607' of rows `first` on of a block.

    No two rows of a version share an id: row numbers go through a bijection of 64-bit numbers (splitmix64).
    Block 0 is the history, block n + 1 the live rows of round n.
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
    """The features that matter, all small ones among them, and how much each does on average."""
    small = spread(SMALL_COUNT)
    medium = sorted(set(spread(MEDIUM_COUNT)) - set(small))
    other = sorted(set(range(FEATURE_COUNT)) - set(spread(MEDIUM_COUNT)))
    groups: Sequence[Any] = (
        small,
        rng.choice(medium, _EXTRA_MEDIUM, replace=False),
        rng.choice(other, _EXTRA_OTHER, replace=False),
    )
    scales = [np.full(len(g), np.sqrt(share / len(g))) for g, share in zip(groups, _SIGNAL_SHARES, strict=True)]
    return np.concatenate([np.asarray(g, dtype=np.int64) for g in groups]), np.concatenate(scales)


def _table(copies: int) -> bytes:
    """For `bytes.translate`: `copies` bytes become -1 (take the latent value), the others 0 to 4 in equal parts."""
    return bytes([255] * copies + [value * _VALUES // (256 - copies) for value in range(256 - copies)])


def _order(score: Floats) -> NDArray[np.int64]:
    """The place of each row, 0 for the lowest."""
    places = np.empty(len(score), dtype=np.int64)
    places[np.argsort(score, kind="stable")] = np.arange(len(score))
    return places


def _ranked(score: Floats) -> NDArray[np.float32]:
    return ((_order(score) + 0.5) / len(score)).astype(np.float32)


def binned(score: Floats) -> NDArray[np.float32]:
    """5, 20, 50, 20 and 5 percent of the rows get 0, 0.25, 0.5, 0.75 and 1, the highest scores the highest."""
    quantiles = (_order(score) + 0.5) / len(score)
    return (np.searchsorted(_BINS, quantiles) / 4).astype(np.float32)
