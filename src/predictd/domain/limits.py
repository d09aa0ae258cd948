"""The resource limits of a run."""

from dataclasses import dataclass

SPARE_ROWS = 20_000
MIB = 1024 * 1024
GIB = 1024 * MIB
_USUAL_ID_BYTES = 64
# Clients request a URL right before they use it, so a longer validity only helps whoever finds a leaked one.
PRESIGNED_URL_SECONDS = 600
# A submission has some thousand rows; a validation file of the full data has about 150 MiB.
MAX_SUBMISSION_BYTES = 256 * MIB


def max_rows(expected: int) -> int:
    """Return how many predictions are read where `expected` ids have one each.

    There are more than that, so that repeated and unknown ids of usual mistakes (all rows twice) can be counted.
    """
    return expected + min(expected, SPARE_ROWS) + SPARE_ROWS // 20


def max_prediction_bytes(rows: int) -> int:
    """Return how many bytes so many ids and values may take: an id has some 17 bytes, and a few may be longer."""
    return MIB + rows * (8 + _USUAL_ID_BYTES)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one run of a model.

    Attributes:
        cpus: processor share, in cores.
        memory_bytes: memory including files in the scratch, without swap.
        seconds: wall clock from the moment that the model starts.
        processes: processes and threads together.
        scratch_bytes: size of the writable scratch.
        output_bytes: size of the answer (ids and values).
        log_kept_bytes: size of the stored log; the newest output is retained.
        log_stop_bytes: a model that prints more than this is stopped.
    """

    cpus: float = 1.0
    memory_bytes: int = 4 * GIB
    seconds: float = 600.0
    processes: int = 256
    scratch_bytes: int = 1 * GIB
    output_bytes: int = 256 * MIB
    log_kept_bytes: int = 1 * MIB
    log_stop_bytes: int = 50 * MIB
