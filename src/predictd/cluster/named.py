"""What a node logs about a run has the run's id."""

from contextlib import AbstractContextManager, nullcontext


def named(trigger_id: str, attempt: int) -> AbstractContextManager[object]:
    """As long as this lasts, lines that this thread logs are of that run; a node without structlog logs no ids."""
    try:
        from structlog.contextvars import bound_contextvars  # noqa: PLC0415 (a node may go without)
    except ModuleNotFoundError:
        return nullcontext()
    return bound_contextvars(trigger=trigger_id, attempt=attempt)
