"""Loads programs into the kernel."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes

    attributes = ctypes.create_string_buffer(128)
    for command in range(38):
        refused(f"bpf {command}", lambda c=command: call("bpf", c, attributes, 128), "EPERM")
    return answer(live_features)
