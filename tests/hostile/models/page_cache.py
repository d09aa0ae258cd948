"""Asks which pages of shared files are in memory, and removes them: so it would see programs that others start."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import mmap
    import os
    import sys

    file = os.open(os.path.realpath(sys.executable), os.O_RDONLY)
    # Private and writable, so that its address can be had; untouched pages are those of the file.
    mapped = mmap.mmap(file, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    pages = ctypes.create_string_buffer(64)
    refused("mincore", lambda: call("mincore", start, 4096, pages), "ENOSYS")
    refused("cachestat", lambda: call("cachestat", file, ctypes.create_string_buffer(16), pages, 0), "ENOSYS")
    refused("a read without waiting", lambda: os.preadv(file, [bytearray(4096)], 0, os.RWF_NOWAIT), "ENOTSUP")
    # Reading it again would be slow, unless somebody else had read it meanwhile.
    refused("removal", lambda: os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED), "EINVAL")
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
    return answer(live_features)
