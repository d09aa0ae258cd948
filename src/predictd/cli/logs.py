"""Set-up of the program's own log on standard error: key=value or JSON lines, or colored text on a terminal.

Records of `logging` by other libraries have the same format, including the keys bound to the thread: the id of the run
or of the request.
"""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.types import EventDict, Processor

# Signatures of presigned URLs, tokens in headers, and secrets in forms and links.
_SECRETS = re.compile(
    r"(?i)((?:signature|x-amz-signature|x-amz-security-token|password|secret_key)=)[^&\s\"']+"
    r"|\b[A-Z0-9]{32}\$[A-Z0-9]{64}\b"
    r"|(authorization:?\s+(?:token|bearer)\s+)\S+"
    r"|(://[^:/@\s]+:)[^@/\s]+(?=@)"
)
_KEYS = ["timestamp", "level", "event", "run", "attempt", "request"]


def configure_logs(level: int, form: str = "logfmt") -> None:
    """Configure the log of the process; `level` is one of `logging`, `form` is logfmt or json."""
    is_terminal = sys.stderr.isatty() and form != "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not is_terminal:
        shared.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                without_secrets,
                _renderer(form, is_terminal=is_terminal),
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
    """Mask everything in the texts of the event that looks like a secret."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _SECRETS.sub(_masked, value)
    return event


def _masked(match: re.Match[str]) -> str:
    return f"{match[1] or match[2] or match[3] or ''}***"


def _factory(*_: Any) -> logging.Logger:
    """Return the same logger for all modules: structlog has no logger names and filters levels itself."""
    return logging.getLogger("predictd")


def _renderer(form: str, *, is_terminal: bool) -> Processor:
    if is_terminal:
        # A traceback without local variables, which may contain tokens.
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    if form == "json":
        return structlog.processors.JSONRenderer(default=str)
    return structlog.processors.LogfmtRenderer(key_order=_KEYS, drop_missing=True, bool_as_flag=False)
