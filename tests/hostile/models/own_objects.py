"""Takes what the runner's and its parent's own code left in memory: sockets, polls and descriptors of open files."""

from inside import answer, channel_of_the_runner

CODE = "success"
SAYS = None


def predict(live_features):
    import gc
    import os
    import sys

    seen = list(gc.get_objects())
    frame = sys._getframe().f_back
    while frame is not None:
        for value in frame.f_locals.values():
            seen += [value, *getattr(value, "__dict__", {}).values()]
        frame = frame.f_back
    for thing in seen:
        kind = type(thing).__name__
        if kind in ("poll", "epoll"):
            print("kept", kind)
        if kind in ("socket", "SocketType") and thing.fileno() >= 0:
            print("open", kind, thing.fileno())
    numbers = {int(name) for name in os.listdir("/proc/self/fd")}
    channel = channel_of_the_runner()
    # The listing's own is one of them.
    unexpected = numbers - {0, 1, 2, channel._descriptor}
    for number in unexpected:
        try:
            print("open", number, os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return answer(live_features)
