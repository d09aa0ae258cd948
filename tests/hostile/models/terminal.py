"""Types into a terminal: of the server's if there is one, or of its own making."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import fcntl
    import os
    import termios

    refused("the terminal", lambda: os.open("/dev/tty", os.O_RDWR), "ENXIO")
    refused("the console", lambda: os.open("/dev/console", os.O_RDWR), "ENOENT", "EACCES", "ENXIO", "EPERM")
    assert set(os.listdir("/dev/pts")) == {"ptmx"}
    _, slave = os.openpty()
    for request in (0x5412, 0x541C, 1 << 32 | 0x5412):
        for file in (0, 1, slave):
            inject = lambda f=file, r=request: fcntl.ioctl(f, r & 0xFFFFFFFF, b"x")  # noqa: E731
            refused(f"inject {request:#x}", inject, "EPERM")
    refused("a session's terminal", lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 1), "ENOTTY", "EPERM")
    return answer(live_features)
