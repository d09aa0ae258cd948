"""Makes native code recurse until its stack is over."""

CODE = "segfault"
SAYS = "Segmentation fault! Ensure python and library versions match our environment."


def predict(live_features):
    import ctypes

    # glibc compiles a regular expression by recursion, one level for each parenthesis.
    compiled = ctypes.create_string_buffer(4096)
    return ctypes.CDLL(None).regcomp(compiled, b"(" * 1_000_000, 1)
