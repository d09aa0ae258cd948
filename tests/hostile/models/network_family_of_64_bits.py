"""Hides the family AF_INET behind upper bits that a filter may look at and the kernel does not."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import errno
    import platform

    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
    for family in (1 << 32 | 2, 1 << 63 | 2, 0xFFFFFFFF00000002, 1 << 32 | 16, 1 << 32 | 40):
        got = libc.syscall(ctypes.c_long(number), ctypes.c_ulong(family), ctypes.c_long(1), ctypes.c_long(0))
        if got >= 0:
            print("open", hex(family), got)
        else:
            assert ctypes.get_errno() == errno.EAFNOSUPPORT
    return answer(live_features)
