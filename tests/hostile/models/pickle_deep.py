"""Is a list in a list in a list, half a million deep."""

CODE = "not_callable"
SAYS = "The pickle holds an object of type list, which can't be called."
LIMITS = {"memory_bytes": 1 << 30}


def raw():
    depth = 500_000
    return b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b"."
