"""A disk that can be full: a small file system of its own."""

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType

from faults.unavailable import Unavailable

_SIZE = "96m"


class SmallDisk:
    """A file system in memory, mounted on the folder while the block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def __enter__(self) -> "SmallDisk":
        if os.geteuid() != 0:
            raise Unavailable("mounting a small disk takes root")
        self.folder.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", "tmpfs", str(self.folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"a small disk can't be mounted: {done.stderr.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(50):
            if subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def fill(self) -> None:
        """Leave not one byte."""
        with self._filler.open("ab", buffering=0) as file:
            block = b"\0" * (1 << 20)
            while block:
                try:
                    file.write(block)
                except OSError:
                    block = block[: len(block) // 2]

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)
