"""Is ten bytes that claim to be ten gigabytes."""

CODE = "truncated_pickle"
SAYS = "The pickle ends in the middle: expected 10000000000 bytes in a bytes8, but only 10 remain."
# The limit of each process is met before the end of the file is.
OTHERWISE = {
    "sampling": {"SAYS": "The pickle ends in the middle: an object in it claims to be larger than any file."},
}


def raw():
    return b"\x80\x04\x8e" + (10**10).to_bytes(8, "little") + b"x" * 10
