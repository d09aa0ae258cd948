"""Watches the files that it sees, by inotify and fanotify, for programs that the host starts."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import os

    for flags in (0, os.O_NONBLOCK):
        refused(f"inotify {flags}", lambda f=flags: call("inotify_init1", f), "ENOSYS")
    refused("inotify by the library", lambda: checked(ctypes.CDLL(None, use_errno=True).inotify_init()), "ENOSYS")
    # The numbers of descriptors that cannot be an instance: refused before the kernel looks at them.
    for path in (b"/usr/bin", b"/bin/true"):
        refused(f"a watch of {path}", lambda p=path: call("inotify_add_watch", 1, p, 0xFFF), "ENOSYS")
    refused("fanotify", lambda: call("fanotify_init", 0x200, 0), "ENOSYS")
    refused("a mark of fanotify", lambda: call("fanotify_mark", 1, 1, 0x20, -100, b"/usr/bin"), "ENOSYS")
    return answer(live_features)


def checked(result):
    import ctypes
    import os

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
