"""A wall clock that can be set, for the server alone."""

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

from faults.unavailable import Unavailable


class Clock:
    """The wall clock of the processes that are started with `environment`; it begins with the right time."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise Unavailable("no C compiler, to make a clock that can be set")
        library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        path = folder / "clock"
        path.write_bytes(struct.pack("d", 0.0))
        self.offset = 0.0
        self.environment = {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(path)}
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def set(self, offset: float) -> None:
        """Let it be so many seconds ahead of the right time, from now on."""
        self.offset = offset
        self._memory[:] = struct.pack("d", offset)
