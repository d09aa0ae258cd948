"""Classify exceptions of the user's code: a stable code, a detail, and a traceback that starts at the user's frames."""

import errno
import os
import socket
import sys
import traceback
from types import TracebackType

from .causes import MISSING_NAME, cause_of
from .packages import package_of, packages_in

_RUNNER_FOLDER = os.path.dirname(os.path.abspath(__file__))
_NO_NETWORK = {errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_MAX_TEXT = 2000
_MAX_LINE = 10_000
_NETWORK_PACKAGES = {"aiohttp", "httpx", "requests", "urllib3"}


class ModelError(Exception):
    """A failure of the model with its code.

    Attributes:
        code: of the failure.
        detail: of the failure, for its message.
        cause: within the code, None if unknown.
        facts: fields of the remedy of the cause.
    """

    def __init__(self, code: str, detail: str, cause: "str | None" = None, **facts: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.cause = cause
        self.facts = facts


def classify(error: BaseException, default_code: str) -> ModelError:
    """Return the ModelError of an exception of the user's code; `default_code` is the code of ordinary exceptions."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, SystemExit):
        return ModelError("exited", f"exit code {'0' if error.code is None else _text(error.code)}")
    if isinstance(error, ModuleNotFoundError):
        return ModelError("import_error", _text(error.name or error))
    if isinstance(error, MemoryError):
        return ModelError("out_of_memory", _text(error))
    if any(_is_network(linked) for linked in _chain(error)):
        return ModelError("network_access", summary(error))
    cause, facts = cause_of(error, default_code, _text(error))
    return ModelError(default_code, summary(error), cause, **facts)


def packages_behind(error: BaseException) -> dict[str, str]:
    """Return name and version of the packages in whose code it was raised, or in which a module is missing."""
    try:
        return _packages_behind(error)
    except Exception:  # noqa: BLE001 (a model may have replaced anything, or closed all descriptors)
        return {}


def _packages_behind(error: BaseException) -> dict[str, str]:
    if isinstance(error, ModuleNotFoundError):
        package = package_of(error.name or "")
        return {} if package is None else dict([package])
    packages = packages_in(error.__traceback__)
    module = MISSING_NAME.match(_text(error)) if isinstance(error, AttributeError) else None
    owner = None if module is None else package_of(module[2])
    return packages if owner is None else {**packages, owner[0]: owner[1]}


def summary(error: BaseException) -> str:
    """Return 'TypeError: message', whatever the exception's own methods do."""
    name, message = _name(error), _text(error)
    return f"{name}: {message}" if message else name


def _name(error: BaseException) -> str:
    # Bypasses the attribute access of a metaclass.
    return _plain(type.__getattribute__(type(error), "__name__"))


def print_traceback(error: BaseException) -> None:
    """Print the traceback to stderr as Python would, without the frames of the runner."""
    try:
        for linked in _chain(error):
            linked.__traceback__ = _user_frames(linked.__traceback__)
        for line in traceback.format_exception(type(error), error, error.__traceback__):
            sys.stderr.write(line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + "...\n")
    except BaseException:  # noqa: BLE001 (an exception class may raise anything in any of its methods)
        sys.stderr.write(summary(error) + "\n")


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_RUNNER_FOLDER):
        frames = frames.tb_next
    return frames


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending and len(chain) < 50:
        linked = pending.pop()
        if linked is not None and not any(linked is previous for previous in chain):
            chain.append(linked)
            pending += [linked.__cause__, linked.__context__]
    return chain


def _is_network(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        return True
    if not isinstance(error, OSError):
        return False
    package = type(error).__module__.partition(".")[0]
    return error.errno in _NO_NETWORK or package in _NETWORK_PACKAGES


def _text(value: object) -> str:
    try:
        return _plain(str(value))
    except BaseException:  # noqa: BLE001 (SystemExit too)
        return ""


def _plain(text: str) -> str:
    """Return the beginning of a text, without calling methods of a class of the model."""
    return str.__getitem__(text, slice(0, _MAX_TEXT))
