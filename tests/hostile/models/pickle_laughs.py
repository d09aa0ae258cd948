"""Is a pair of the same pair of the same pair, sixty times, and asks for its hash: a billion billion steps."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'unpickle' ({text})."
LIMITS = {"seconds": 1.5}


def raw():
    return b"\x80\x04cbuiltins\nhash\n)" + b"2\x86" * 60 + b"\x85R."
