"""Opening a file of this machine for a run so that the run can read it and never write to it."""

import ctypes
import os
from pathlib import Path

_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442
_CLONE, _CLOEXEC, _EMPTY_PATH = 1, os.O_CLOEXEC, 0x1000
_READ_ONLY, _NOSUID, _NODEV = 0x1, 0x2, 0x4

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def opened_read_only(path: Path) -> int:
    """Descriptor of the file, through a mount of its own that nobody can open it for writing through; needs root.

    Raises:
        OSError: there is no such file, or the kernel (before 5.12) can't do that.
    """
    source = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        tree = _called(_SYS_OPEN_TREE, source, b"", ctypes.c_uint(_CLONE | _CLOEXEC | _EMPTY_PATH))
    finally:
        os.close(source)
    try:
        attributes = _Attributes(set=_READ_ONLY | _NOSUID | _NODEV)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        _called(_SYS_MOUNT_SETATTR, tree, b"", ctypes.c_uint(_EMPTY_PATH), ctypes.byref(attributes), size)
        return os.open(f"/proc/self/fd/{tree}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(tree)


def _called(number: int, descriptor: int, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_int(descriptor), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)
