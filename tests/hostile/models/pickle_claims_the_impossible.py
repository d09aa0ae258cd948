"""Is ten bytes that claim to be more than there are addresses."""

CODE = "truncated_pickle"
SAYS = "The pickle ends in the middle: {text}."


def raw():
    return b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x" * 10
