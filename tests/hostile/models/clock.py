"""Sets the clock of the machine, in every way there is, and makes it run slower."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import time

    moment = (ctypes.c_long * 4)(1_000_000_000, 0, 0, 0)
    adjustment = ctypes.create_string_buffer(b"\x01\x04", 512)
    for clock in (0, 1, 7, 11):
        refused(f"clock {clock}", lambda c=clock: call("clock_settime", c, moment), "EPERM")
        refused(f"clock {clock}", lambda c=clock: call("clock_adjtime", c, adjustment), "EPERM")
    refused("settimeofday", lambda: call("settimeofday", moment, 0), "EPERM")
    refused("the time zone", lambda: call("settimeofday", 0, moment), "EPERM")
    refused("adjtimex", lambda: call("adjtimex", adjustment), "EPERM")
    refused("python", lambda: time.clock_settime(time.CLOCK_REALTIME, 0), "EPERM")
    return answer(live_features)
