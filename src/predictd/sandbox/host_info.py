"""What of this machine may change a model's numbers."""

import platform
from functools import cache
from pathlib import Path

from predictd.domain.limits import Limits
from predictd.domain.runs import Machine
from predictd.sandbox.command import threads_of

# What NumPy, OpenBLAS and the tree libraries look at when they choose between versions of a loop.
_FLAGS: tuple[str, ...] = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
)
_FLAGS += ("avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve", "sve2")


def this_machine(limits: Limits) -> Machine:
    """The facts of this machine, for a run within these limits."""
    processor, flags = _processor()
    return Machine(
        processor=processor,
        flags=flags,
        architecture=platform.machine(),
        kernel=platform.release(),
        libc=" ".join(_libc()),
        threads=threads_of(limits),
    )


@cache
def _processor() -> tuple[str, tuple[str, ...]]:
    found: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip().lower(), value.strip())
    except OSError:
        pass
    has = set((found.get("flags") or found.get("features") or "").split())
    return found.get("model name") or platform.processor() or "unknown", tuple(one for one in _FLAGS if one in has)


@cache
def _libc() -> tuple[str, str]:
    return platform.libc_ver()
