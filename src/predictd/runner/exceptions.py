"""What an exception of the user's code means: a stable code, a detail, and a traceback from the user's frames on."""

import errno
import os
import socket
import sys
import traceback
from types import TracebackType

from .causes import MISSING_NAME, cause_of
from .packages import package_of, packages_in

_HERE = os.path.dirname(os.path.abspath(__file__))
_NO_NETWORK = {errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_MOST_TEXT = 2000
_MOST_LINE = 10_000
_NETWORK_PACKAGES = {"aiohttp", "httpx", "requests", "urllib3"}


class ModelFault(Exception):
    """The model did something that has a code of its own.

    Attributes:
        code: of the failure.
        detail: fills its sentence.
        cause: within the code, None where it is unknown.
        facts: fill the remedy of the cause.
    """

    def __init__(self, code: str, detail: str, cause: "str | None" = None, **facts: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.cause = cause
        self.facts = facts


def classify(error: BaseException, otherwise: str) -> ModelFault:
    """Return what the user's code raised as a fault; `otherwise` is the code of everything unremarkable."""
    if isinstance(error, ModelFault):
        return error
    if isinstance(error, SystemExit):
        return ModelFault("exited", f"exit code {'0' if error.code is None else _text(error.code)}")
    if isinstance(error, ModuleNotFoundError):
        return ModelFault("import_error", _text(error.name or error))
    if isinstance(error, MemoryError):
        return ModelFault("out_of_memory", _text(error))
    if any(_is_network(one) for one in _chain(error)):
        return ModelFault("network_access", summary(error))
    cause, facts = cause_of(error, otherwise, _text(error))
    return ModelFault(otherwise, summary(error), cause, **facts)


def packages_behind(error: BaseException) -> dict[str, str]:
    """Name and version of the runtime's packages in whose code it was raised, or in which a module was looked for."""
    try:
        return _packages_behind(error)
    except Exception:  # noqa: BLE001 (a model may have replaced anything, or left no descriptor to import with)
        return {}


def _packages_behind(error: BaseException) -> dict[str, str]:
    if isinstance(error, ModuleNotFoundError):
        package = package_of(error.name or "")
        return {} if package is None else dict([package])
    found = packages_in(error.__traceback__)
    module = MISSING_NAME.match(_text(error)) if isinstance(error, AttributeError) else None
    owner = None if module is None else package_of(module[2])
    return found if owner is None else {**found, owner[0]: owner[1]}


def summary(error: BaseException) -> str:
    """'TypeError: message', whatever the exception's own methods do."""
    name, message = _name(error), _text(error)
    return f"{name}: {message}" if message else name


def _name(error: BaseException) -> str:
    # Past whatever the class's own class makes of its attributes.
    return _plain(type.__getattribute__(type(error), "__name__"))


def print_traceback(error: BaseException) -> None:
    """Print the traceback to stderr as Python would, without the frames of the runner."""
    try:
        for one in _chain(error):
            one.__traceback__ = _user_frames(one.__traceback__)
        for line in traceback.format_exception(type(error), error, error.__traceback__):
            sys.stderr.write(line if len(line) <= _MOST_LINE else line[:_MOST_LINE] + "...\n")
    except BaseException:  # noqa: BLE001 (an exception class may raise anything in any of its methods)
        sys.stderr.write(summary(error) + "\n")


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo and len(chain) < 50:
        one = todo.pop()
        if one is not None and not any(one is seen for seen in chain):
            chain.append(one)
            todo += [one.__cause__, one.__context__]
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
    """The beginning of a text, without the methods of a class of the model's."""
    return str.__getitem__(text, slice(0, _MOST_TEXT))
