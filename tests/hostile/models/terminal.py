"""Types into a terminal of the server's, if there is one, or makes terminals of its own."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import fcntl
    import os
    import termios

    refused("the terminal", lambda: os.open("/dev/tty", os.O_RDWR), "ENXIO", "ENOENT")
    refused("the console", lambda: os.open("/dev/console", os.O_RDWR), "ENOENT", "EACCES", "ENXIO", "EPERM")
    # Whatever passes through a pair of terminals is moved by the kernel's own threads, outside of the run's group.
    refused("a pair of terminals", os.openpty, "ENOENT")
    for path in ("/dev/ptmx", "/dev/pts/ptmx", "/dev/pts/0", "/dev/tty0", "/dev/ttyS0", "/dev/hvc0"):
        refused(path, lambda p=path: os.open(p, os.O_RDWR | os.O_NOCTTY), "ENOENT")
    for request in (0x5412, 0x541C, 1 << 32 | 0x5412):
        for file in (0, 1):
            inject = lambda f=file, r=request: fcntl.ioctl(f, r & 0xFFFFFFFF, b"x")  # noqa: E731
            refused(f"inject {request:#x}", inject, "EPERM")
    refused("a session's terminal", lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 1), "ENOTTY", "EPERM")
    return answer(live_features)
