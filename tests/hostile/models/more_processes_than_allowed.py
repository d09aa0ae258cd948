"""Counts how many processes it can have at once, whatever the limit says: it is 64."""

from inside import answer

CODE = "success"
SAYS = None
LIMITS = {"memory_bytes": 1 << 30}


def predict(live_features):
    import os
    import resource
    import signal

    children = []
    try:
        while len(children) < 200:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except BlockingIOError:
        print("shut after", len(children))
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))
        print("open", "a higher limit")
    except (ValueError, PermissionError) as error:
        print("shut", error)
    if len(children) > 64:
        print("open", len(children), "processes")
    for child in children:
        os.kill(child, signal.SIGKILL)
    return answer(live_features)
