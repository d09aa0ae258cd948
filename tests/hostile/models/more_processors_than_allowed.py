"""Takes more than its one processor: moves to others and works in four processes at once."""

from inside import answer, call, refused

CODE = "success"
SAYS = None
# Where no control group holds it to its share, it must not leave the processors that it was given.
OTHERWISE = {"sampling": {"LOG": "shut [Errno 1]"}}


def predict(live_features):
    import os
    import time

    try:
        os.sched_setaffinity(0, range(os.cpu_count()))
    except OSError as error:
        print("shut", error)
    # The other half of its processor would be idle for as long as this process runs.
    refused("a core of its own", lambda: call("prctl", 62, 1, 0, 0, 0), "EINVAL")
    since = time.monotonic()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            while time.monotonic() < since + 1.5:
                pass
            os._exit(0)
        children.append(child)
    used = sum(sum(os.wait4(child, 0)[2][:2]) for child in children)
    took = time.monotonic() - since
    if used / took > 1.3:
        print("open", f"{used / took:.2f} processors")
    return answer(live_features)
