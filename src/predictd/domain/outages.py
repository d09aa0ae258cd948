"""Telling a disk that is full for now from other trouble with files."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether there was no room on a disk."""
    return isinstance(error, OSError) and error.errno in _FULL
