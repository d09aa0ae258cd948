"""Properties of this machine that may change the values of predictions."""

import platform
from functools import cache
from pathlib import Path

from predictd.domain.limits import Limits
from predictd.domain.runs import Machine
from predictd.sandbox.command import thread_count

# NumPy, OpenBLAS and the tree libraries choose between implementations by these flags.
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
    """Return the properties of this machine for a run within these limits."""
    processor, flags = _processor()
    return Machine(
        processor=processor,
        flags=flags,
        architecture=platform.machine(),
        kernel=platform.release(),
        libc=" ".join(_libc()),
        threads=thread_count(limits),
    )


@cache
def _processor() -> tuple[str, tuple[str, ...]]:
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip().lower(), value.strip())
    except OSError:
        pass
    available = set((fields.get("flags") or fields.get("features") or "").split())
    return fields.get("model name") or platform.processor() or "unknown", tuple(
        flag for flag in _FLAGS if flag in available
    )


@cache
def _libc() -> tuple[str, str]:
    return platform.libc_ver()
