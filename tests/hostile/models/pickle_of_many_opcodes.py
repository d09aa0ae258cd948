"""Is nothing but instructions that put something down and take it away again, thirty million of them."""

CODE = "not_callable"
SAYS = "The pickle holds None, which can't be called."


def raw():
    return b"\x80\x04" + b"N0" * 15_000_000 + b"N."
