"""Estimate the time and memory of a run on the server from a run on this machine.

The estimate assumes that one core of the server is as fast as the reference, and that the time of reading and
predicting is proportional to the number of rows. Both may be wrong, so it leads to warnings and never to a failure.

"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

REFERENCE = "one core of an AMD EPYC with AVX-512"
REFERENCE_SECONDS = 0.036
"""Seconds of the work of `calibrate` on the reference."""
LIVE_ROWS = 6500
"""Rows of a round's live data; fewer rows are scaled to this number."""

_ROW_STAGES = ("read", "predict", "write")
_UNLIMITED_STAGES = ("import",)
_TRIES = 5
_BYTES_PER_VALUE = 5


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """The estimated cost of a run on the server.

    Attributes:
        seconds: time that counts against the limit, from unpickling on.
        memory_bytes: peak of memory; 0 if unknown.
        speed: speed of this machine relative to the reference.
        rows: rows of the live data on the server.
    """

    seconds: float
    memory_bytes: int
    speed: float
    rows: int


def calibrate() -> float:
    """Return the single-thread speed of this machine relative to the reference: the best of five tries of 0.04 s."""
    return REFERENCE_SECONDS / min(_work() for _ in range(_TRIES))


def estimate_cost(
    stages: Mapping[str, float], memory_bytes: int, *, rows: int, columns: int, speed: float, live_rows: int = LIVE_ROWS
) -> CostEstimate:
    """Estimate the cost on the server of a run with these seconds by stage and this memory.

    Args:
        stages: as in a RunReport.
        memory_bytes: peak of memory; 0 if unknown.
        rows: rows of its data.
        columns: columns of its data; an additional row adds five bytes per column.
        speed: speed of this machine, from `calibrate`.
        live_rows: rows of the server's live data; at least `rows` are assumed.
    """
    server_rows = max(rows, live_rows)
    seconds = sum(
        taken * (server_rows / rows if stage in _ROW_STAGES else 1)
        for stage, taken in stages.items()
        if stage not in _UNLIMITED_STAGES
    )
    added_bytes = (server_rows - rows) * columns * _BYTES_PER_VALUE if memory_bytes else 0
    return CostEstimate(seconds=seconds * speed, memory_bytes=memory_bytes + added_bytes, speed=speed, rows=server_rows)


def _work() -> float:
    """Return the seconds of work that is typical for models: sorting, array arithmetic and Python code."""
    values = np.random.default_rng(0).random(400_000)
    start = time.perf_counter()
    np.sort(values)
    for _ in range(20):
        values = np.sqrt(values * 0.5 + 0.1)
    total = 0
    for number in range(1_000_000):
        total += number & 3
    return time.perf_counter() - start
