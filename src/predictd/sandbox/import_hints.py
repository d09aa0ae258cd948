"""Which modules a pickle that never ran will import."""

import mmap
import os
from pathlib import Path

from predictd.runner.channel import USUAL_MODULES


def likely_imports(pickle: Path) -> tuple[str, ...]:
    """Which of the usual modules a pickle that never ran will import, by their names among its bytes.

    A wrong guess costs a model nothing but time: what it imports itself is imported all the same.
    """
    with pickle.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return ()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return tuple(name for name in USUAL_MODULES if content.find(name.encode()) >= 0)
