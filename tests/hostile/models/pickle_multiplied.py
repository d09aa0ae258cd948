"""Is a hundred bytes that become ten gigabytes while they are unpickled."""

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def raw():
    number = (10**10).to_bytes(5, "little")
    return b"\x80\x04coperator\nmul\nC\x01x\x8a\x05" + number + b"\x86R."
