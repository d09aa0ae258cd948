"""Builds the compiled part of predictd.trees: a plain C library beside its modules.

Hatch runs it for wheels and editable installs. Run by hand (`python hatch_build.py`), it builds the library in place.
Without a C compiler the package is made without the library, and trees are evaluated by their own libraries.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "native" / "trees"
LIBRARY = Path("src", "predictd", "trees", "libpredictd_trees.so")
# Sums must be made exactly as they are written: no contraction into fused multiply-adds, no reordering.
FLAGS = [
    "-O3",
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
]


def find_compiler() -> list[str] | None:
    """The command of the C compiler: CC, else cc, gcc or clang; None where there is none."""
    command = shlex.split(os.environ.get("CC", "")) or next(
        ([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None
    )
    return command if command and shutil.which(command[0]) else None


def build(target: Path, flags: list[str] = FLAGS) -> None:
    """Compiles the library to `target`, which is replaced at once; processes that have the old one open keep it.

    Raises OSError when there is no compiler, subprocess.CalledProcessError when it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise FileNotFoundError("no C compiler found (set CC, or install gcc)")
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder, target.name)
        subprocess.run([*compiler, *flags, "-o", str(made), *sources, "-lm"], check=True)
        made.replace(target)


class TreesBuildHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """Hatch's hook."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Builds the library in place and tags the wheel with its platform; any Python 3 can load it."""
        if self.target_name != "wheel":
            return
        library = Path(self.root, LIBRARY)
        try:
            build(library)
        except (OSError, subprocess.CalledProcessError) as error:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"predictd.trees is built without its compiled library: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
        build_data["artifacts"].append(str(LIBRARY))  # type: ignore[attr-defined]


if __name__ == "__main__":
    build(ROOT / LIBRARY)
    sys.stdout.write(f"{ROOT / LIBRARY}\n")
