"""The runtimes of a node: built from their locks when the first run wants them, and kept."""

import threading
from collections.abc import Callable
from pathlib import Path

from predictd.cluster.job_spec import Item, runtime_of
from predictd.cluster.node.object_cache import ObjectCache
from predictd.domain.errors import PlatformError, PredictdError
from predictd.domain.runs import RuntimePaths
from predictd.runtimes import PACKAGE_SETS, RuntimeSpec, build, load
from predictd.runtimes.specs import RUNNER_IMPORTS


class KeptRuntimes:
    """The runtimes in a folder of this node.

    Args:
        home: that folder.
        objects: fetches the locks that come with no package of predictd.
        say: told in a line what is being built.
    """

    def __init__(self, home: Path, objects: ObjectCache, say: Callable[[str], None]) -> None:
        self._home = home
        self._objects = objects
        self._say = say
        self._ready: dict[str, RuntimePaths] = {}

    def get(self, folder: str, lock: Item, cancel: threading.Event) -> RuntimePaths:
        """The runtime of that folder name; it is built where it is missing, which may take a minute or two.

        Raises:
            PlatformError: it can't be built here.
            CancelledError: `cancel` was set.
        """
        ready = self._ready.get(folder)
        if ready is not None and ready.packages.is_dir() and ready.python.exists():
            return ready
        built = next((one for one in load(self._home) if one.folder.name == folder), None)
        if built is None:
            try:
                # Two runs that want the same one at once share the build.
                built = build(self._spec(folder, lock, cancel), self._home, self._say)
            except PlatformError:
                raise
            except PredictdError as error:
                raise PlatformError(f"A node can't build the runtime {folder}: {error.message}") from error
        self._ready[folder] = built.paths
        return built.paths

    def _spec(self, folder: str, lock: Item, cancel: threading.Event) -> RuntimeSpec:
        python, packages, tag = runtime_of(folder)
        known = PACKAGE_SETS.get(packages, {}).get(python)
        if known is not None and known.tag == tag:
            return known
        with self._objects.held(lock, cancel) as path:
            text = path.read_text(encoding="utf-8")
        spec = RuntimeSpec(python=python, packages=packages, lock=text, imports=RUNNER_IMPORTS)
        if spec.tag != tag:
            raise PlatformError(f"The lock of the runtime {folder} is another than its name says.")
        return spec
