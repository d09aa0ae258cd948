"""How long a run would take on the server: what it took here, by how fast this machine is and how many rows there are.

It assumes that one core of the server is as fast as the reference, and that reading and predicting take time by the
row. The first is unknown, the second too much for models that spend most of their time otherwise: a forecast is no
measurement, so it warns and never fails.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

REFERENCE = "one core of an AMD EPYC with AVX-512"
REFERENCE_SECONDS = 0.036
"""What the work of `calibrate` takes on the reference."""
LIVE_ROWS = 6500
"""Rows of a round's live data, as Numerai publishes it; fewer are scaled to that."""

_BY_ROW = ("read", "predict", "write")
_NOT_COUNTED = ("import",)
_TRIES = 5
_BYTES_PER_VALUE = 5


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would take on the server.

    Attributes:
        seconds: of the time that is limited: from the moment that the model is unpickled.
        memory_bytes: at its peak; 0 where none was measured.
        speed: how many times as fast as the reference this machine is.
        rows: of the live data there.
    """

    seconds: float
    memory_bytes: int
    speed: float
    rows: int


def calibrate() -> float:
    """How many times as fast as the reference this machine is, for one thread, by the best of five tries of 0.04 s."""
    return REFERENCE_SECONDS / min(_work() for _ in range(_TRIES))


def forecast(
    stages: Mapping[str, float], memory_bytes: int, *, rows: int, columns: int, speed: float, live_rows: int = LIVE_ROWS
) -> Forecast:
    """What a run that took those seconds by stage and that memory here would take on the server.

    Args:
        stages: as in a RunReport.
        memory_bytes: its peak; 0 means unknown.
        rows: of the data that it ran on.
        columns: of these; a row that is not here is counted as a value of one and a copy of four bytes in each.
        speed: that of this machine, from `calibrate`.
        live_rows: of the server's live data; no fewer than `rows` are forecast.
    """
    there = max(rows, live_rows)
    seconds = sum(
        taken * (there / rows if stage in _BY_ROW else 1)
        for stage, taken in stages.items()
        if stage not in _NOT_COUNTED
    )
    added = (there - rows) * columns * _BYTES_PER_VALUE if memory_bytes else 0
    return Forecast(seconds=seconds * speed, memory_bytes=memory_bytes + added, speed=speed, rows=there)


def _work() -> float:
    """Seconds of work as models do it: sorting, arithmetic on arrays, and Python itself."""
    values = np.random.default_rng(0).random(400_000)
    start = time.perf_counter()
    np.sort(values)
    for _ in range(20):
        values = np.sqrt(values * 0.5 + 0.1)
    total = 0
    for number in range(1_000_000):
        total += number & 3
    return time.perf_counter() - start
