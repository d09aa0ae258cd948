"""What one run may use."""

from dataclasses import dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB


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
        log_kept_bytes: of what the model prints, the newest so many bytes are kept.
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
