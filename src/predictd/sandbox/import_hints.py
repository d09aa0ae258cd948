"""Guess the imports of a pickle that has never run."""

import mmap
import os
from pathlib import Path

from predictd.runner.channel import USUAL_MODULES


def likely_imports(pickle: Path) -> tuple[str, ...]:
    """Return the USUAL_MODULES whose names occur in the bytes of the pickle.

    A wrong guess only costs time: the model imports the modules it needs anyway.
    """
    with pickle.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return ()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return tuple(name for name in USUAL_MODULES if content.find(name.encode()) >= 0)
