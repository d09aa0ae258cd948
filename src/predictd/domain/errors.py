"""The errors that users see, with one base class."""

import errno
import re

_ENDS_TWICE = re.compile(r"([^.][.]|[!?])[.]$")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def normalize_ending(sentence: str) -> str:
    """Return the sentence with one mark at its end, whatever the text that it quotes last ends with."""
    return sentence[:-1] if _ENDS_TWICE.search(sentence) else sentence


class PredictdError(Exception):
    """An error that a user can act on: what happened, the limit and the remedy.

    Attributes:
        code: stable code of the error, for programs.
        message: one or two sentences, for people.
    """

    code = "error"

    def __init__(self, message: str | None = None) -> None:
        self.message = normalize_ending(message or (self.__doc__ or self.code).strip().splitlines()[0])
        super().__init__(self.message)


class InvalidInputError(PredictdError):
    """The input is invalid."""

    code = "invalid_input"


class NotFoundError(PredictdError):
    """There is no such object, or it belongs to another account."""

    code = "not_found"


class ConflictError(PredictdError):
    """The request contradicts what is stored."""

    code = "conflict"


class NotAuthenticatedError(PredictdError):
    """Your session is invalid or has expired."""

    code = "not_authenticated"


class MissingScopeError(PredictdError):
    """The token lacks the scope that this needs."""

    code = "missing_scope"


class ForbiddenTransferError(PredictdError):
    """The presigned URL is forged, has expired or was made for something else."""

    code = "forbidden_transfer"


class TooLargeError(PredictdError):
    """The object is larger than the limit."""

    code = "too_large"


class LimitReachedError(PredictdError):
    """The account has reached its limit."""

    code = "limit_reached"


class BusyError(PredictdError):
    """The server is busy."""

    code = "busy"


class PlatformError(PredictdError):
    """The platform failed, not the user's model; the work is retried."""

    code = "platform"


class OutageError(PlatformError):
    """A dependency of the platform is temporarily unavailable; try again soon."""

    code = "unavailable"


class StorageDownError(OutageError):
    """The storage does not answer at the moment; try again in a minute."""

    code = "storage_down"


class KilledOnceError(PlatformError):
    """The model's process was killed by something unknown, so it is run again."""

    code = "killed_once"


class RuntimeMissingError(PlatformError):
    """The runtime is not on this machine and could not be built here; another machine may have it."""

    code = "runtime_missing"


class CancelledError(PlatformError):
    """The work was cancelled before it ended."""

    code = "cancelled"


class SetupError(PredictdError):
    """This machine or data dir lacks something that the command needs."""

    code = "setup"


def is_disk_full(error: BaseException) -> bool:
    """Return whether there was no room on a disk."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL
