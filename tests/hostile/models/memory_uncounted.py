"""Takes memory of the kernel's that no control group counts: locks, memory policies, filters, pages in pipes."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import fcntl
    import mmap
    import os
    import socket
    import struct

    with open("/tmp/locked", "w+b") as file:
        part = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        for command in (fcntl.F_SETLK, fcntl.F_SETLKW, 37, 38):
            refused(f"lock {command}", lambda c=command: fcntl.fcntl(file, c, part), "ENOLCK")
        # Of these an open file has one.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(1 << 16)
        pages = mmap.mmap(file.fileno(), 1 << 16)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    nodes = ctypes.c_ulong(1)
    refused("policy of pages", lambda: call("mbind", start, 4096, 2, ctypes.byref(nodes), 64, 0), "ENOSYS")
    refused("policy of a task", lambda: call("set_mempolicy", 2, ctypes.byref(nodes), 64), "ENOSYS")
    refused("migration", lambda: call("migrate_pages", 0, 64, ctypes.byref(nodes), ctypes.byref(nodes)), "ENOSYS")
    _, write = os.pipe()
    vector = struct.pack("QQ", start, 1)
    refused("pages in pipes", lambda: call("vmsplice", write, vector, 1, 0), "ENOSYS")
    refused("huge pages", lambda: mmap.mmap(-1, 1 << 21, flags=0x40022), "ENOMEM")
    refused("a file of huge pages", lambda: call("memfd_create", b"huge", 4), "ENOMEM", "ENOSYS")
    allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
    program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
    refused("filter", lambda: call("seccomp", 1, 0, program), "EPERM")
    refused("filter by prctl", lambda: call("prctl", 22, 2, program, 0, 0), "EPERM")
    with socket.socket(socket.AF_UNIX) as local:
        for option in (26, 51):
            refused(f"filter of a socket {option}", lambda o=option: local.setsockopt(1, o, program), "EPERM")
    return answer(live_features)
