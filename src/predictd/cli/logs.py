"""Where the program's own log goes: standard error, as lines of key=value or of JSON or, on a terminal, in colour.

What other libraries log with `logging` goes the same way, so that each line has the same keys and what was bound to the
thread: the id of the run or of the request.
"""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.types import EventDict, Processor

# Signatures of presigned URLs, tokens as they stand in headers, and what a form or a link carries.
_SECRETS = re.compile(
    r"(?i)((?:signature|x-amz-signature|x-amz-security-token|password|secret_key)=)[^&\s\"']+"
    r"|\b[A-Z0-9]{32}\$[A-Z0-9]{64}\b"
    r"|(authorization:?\s+(?:token|bearer)\s+)\S+"
    r"|(://[^:/@\s]+:)[^@/\s]+(?=@)"
)
_KEYS = ["timestamp", "level", "event", "trigger", "attempt", "request"]


def configure_logs(level: int, form: str = "logfmt") -> None:
    """Set up the log of the whole process, from the level of `logging` on; `form` is logfmt or json."""
    is_for_people = sys.stderr.isatty() and form != "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not is_for_people:
        shared.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                without_secrets,
                _renderer(form, is_for_people=is_for_people),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("predictd").setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_factory,
        cache_logger_on_first_use=False,
    )


def without_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    """The event with what looks like a secret left out of its texts, wherever it comes from."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _SECRETS.sub(_masked, value)
    return event


def _masked(found: re.Match[str]) -> str:
    return f"{found[1] or found[2] or found[3] or ''}***"


def _factory(*_: Any) -> logging.Logger:
    """One logger for all: structlog has no names, and levels are its own."""
    return logging.getLogger("predictd")


def _renderer(form: str, *, is_for_people: bool) -> Processor:
    if is_for_people:
        # A traceback without local variables: they hold tokens.
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    if form == "json":
        return structlog.processors.JSONRenderer(default=str)
    return structlog.processors.LogfmtRenderer(key_order=_KEYS, drop_missing=True, bool_as_flag=False)
