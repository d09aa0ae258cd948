"""Makes the kernel's own threads work, outside of its group: asynchronous files, writing back, merging equal pages."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import mmap
    import os

    context = ctypes.create_string_buffer(8)
    refused("asynchronous files", lambda: call("io_setup", 1, context), "ENOSYS")
    # Writes back the dirty pages of all that the host has; how long it takes shows how many there are.
    refused("sync", lambda: call("sync"), "EPERM")
    refused("syncfs", lambda: call("syncfs", os.open("/usr", os.O_RDONLY)), "EPERM")
    with open("/tmp/own", "wb") as file:
        os.fsync(file.fileno())
    page = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    refused("merging of pages", lambda: call("madvise", start, 1 << 16, 12), "EINVAL")
    refused("merging of all pages", lambda: call("prctl", 67, 1, 0, 0, 0), "EINVAL")
    page.madvise(mmap.MADV_DONTNEED)
    refused("advice for another process", lambda: call("process_madvise", -1, 0, 0, 0, 0), "ENOSYS")
    return answer(live_features)
