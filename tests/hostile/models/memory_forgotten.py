"""Fills shared memory and lets go of its pages, which stay with the kernel and are resident in no process."""

from inside import answer

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where there is no control group, which counts them, there is no such memory.
OTHERWISE = {"sampling": {"CODE": "success", "SAYS": None, "LOG": "shut"}}


def predict(live_features):
    import contextlib
    import mmap
    import time

    def fill(file):
        pages = mmap.mmap(file, 1 << 27)
        for start in range(0, len(pages), 1 << 22):
            pages[start : start + (1 << 22)] = b"x" * (1 << 22)
            pages.madvise(mmap.MADV_DONTNEED, start, 1 << 22)
        return pages

    held = []
    with contextlib.ExitStack() as stack:
        for source in (None, "/dev/zero"):
            try:
                file = -1 if source is None else stack.enter_context(open(source, "r+b")).fileno()
                held += [fill(file) for _ in range(4)]
            except OSError as error:
                print("shut", error)
        time.sleep(0.5)
    if held:
        print("open", len(held) * 128, "MiB")
    return answer(live_features)
