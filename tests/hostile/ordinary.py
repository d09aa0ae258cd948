"""Becomes an ordinary user and then another program: `ordinary.py UID FOLDER... -- PROGRAM [ARGUMENT...]`, as root.

The folders stay reachable to that user, at the same paths and read-only, even where folders above them are closed: in
a mount namespace of its own, each closed one is covered with an open one that holds nothing else.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWNS = 0x20000
_NOSUID, _BIND, _REC, _PRIVATE = 0x2, 0x1000, 0x4000, 0x40000
_READ_ONLY, _REMOUNT = 0x1, 0x20

_libc = ctypes.CDLL(None, use_errno=True)


def main(uid: int, folders: list[Path], program: list[str]) -> None:
    _check(_libc.unshare(_CLONE_NEWNS))
    _mount(None, "/", None, _REC | _PRIVATE)
    opened = {folder: os.open(folder, os.O_PATH) for folder in folders}
    covers = {cover for cover in map(_closed_above, folders) if cover is not None}
    for cover in covers:
        _mount("tmpfs", str(cover), "tmpfs", _NOSUID, "mode=755,size=1m")
    for folder, source in opened.items():
        folder.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{source}", str(folder), None, _BIND | _REC)
        _mount(None, str(folder), None, _BIND | _REMOUNT | _READ_ONLY | _NOSUID)
        os.close(source)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.chdir("/")
    os.execv(program[0], program)


def _closed_above(folder: Path) -> Path | None:
    """The topmost folder above that others can't enter, None if all are open."""
    return next((one for one in reversed(folder.parents) if not one.stat().st_mode & 0o001), None)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    _check(_libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    end = sys.argv.index("--")
    main(int(sys.argv[1]), [Path(one) for one in sys.argv[2:end]], sys.argv[end + 1 :])
