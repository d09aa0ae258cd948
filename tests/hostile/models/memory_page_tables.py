"""Reads one page in every two megabytes of a vast nothing: each costs the kernel a page of tables."""

from inside import answer

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import ctypes
    import mmap
    import time

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size = 512 << 30
    # Not reserved and small pages only; reading maps the one page of zeros, which is no memory of anybody's.
    at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0)
    if at == ctypes.c_void_p(-1).value:
        print("shut", ctypes.get_errno())
        return answer(live_features)
    libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), 15)
    read = ctypes.c_ubyte.from_address
    for offset in range(0, size, 2 << 20):
        assert read(at + offset).value == 0
    time.sleep(3)
    print("open", (size >> 21) * 4 >> 10, "MiB of the kernel's")
    return answer(live_features)
