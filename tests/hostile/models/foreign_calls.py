"""Makes system calls by another numbering (i386), to which a filter for this one is blind."""

CODE = "killed"
SAYS = "The model's process died of signal 31 (SIGSYS, a system call that the sandbox forbids)."
# An engine's filter ends the thread that called, and the process waits for it.
OTHERWISE = {
    "container": {
        "CODE": "timeout",
        "SAYS": "Timeout: the model had not ended after 3 seconds; it was at the stage 'predict' ({text}).",
    }
}
LIMITS = {"seconds": 3}
MACHINE = "x86_64"


def predict(live_features):
    import ctypes
    import mmap

    # mov eax, 359 (socket of i386); mov ebx, 2; mov ecx, 1; xor edx, edx; int 0x80; ret
    code = bytes.fromhex("b867010000 bb02000000 b901000000 31d2 cd80 c3")
    page = mmap.mmap(
        -1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    )
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    print("open", function())
