"""Watches the processor, and by it others, with the counters of the kernel."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import struct

    for kind in range(6):
        attributes = ctypes.create_string_buffer(struct.pack("II", kind, 128), 128)
        for pid, processor in ((0, -1), (-1, 0), (1, -1)):
            attempt = lambda a=attributes, p=pid, c=processor: call("perf_event_open", a, p, c, -1, 0)  # noqa: E731
            refused(f"perf {kind} {pid}", attempt, "EPERM")
    return answer(live_features)
