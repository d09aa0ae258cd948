"""The runtimes of a node: built from their locks at first use."""

import threading
from collections.abc import Callable
from pathlib import Path

from predictd.cluster.job_spec import ObjectRef, runtime_of
from predictd.cluster.node.objects import acquire_object
from predictd.domain.errors import PlatformError, PredictdError
from predictd.domain.runs import RuntimePaths
from predictd.file_cache import FileCache
from predictd.runtimes import PACKAGE_SETS, RuntimeSpec, build, load
from predictd.runtimes.specs import RUNNER_IMPORTS


class RuntimeCache:
    """The built runtimes in a folder of this node.

    Args:
        home: the folder.
        objects: cache for the locks that are not part of predictd.
        show: called with a line about the progress of a build.
    """

    def __init__(self, home: Path, objects: FileCache, show: Callable[[str], None]) -> None:
        self._home = home
        self._objects = objects
        self._show = show
        self._ready: dict[str, RuntimePaths] = {}

    def get(self, folder: str, lock: ObjectRef, cancel: threading.Event) -> RuntimePaths:
        """Return the runtime with that folder name; build it if missing, which may take a minute or two.

        Raises:
            PlatformError: It can't be built on this node.
            CancelledError: `cancel` was set.
        """
        ready = self._ready.get(folder)
        if ready is not None and ready.packages.is_dir() and ready.python.exists():
            return ready
        built = next((runtime for runtime in load(self._home) if runtime.folder.name == folder), None)
        if built is None:
            try:
                # Concurrent runs share the build.
                built = build(self._spec(folder, lock, cancel), self._home, self._show)
            except PlatformError:
                raise
            except PredictdError as error:
                raise PlatformError(f"The node can't build the runtime {folder}: {error.message}") from error
        self._ready[folder] = built.paths
        return built.paths

    def _spec(self, folder: str, lock: ObjectRef, cancel: threading.Event) -> RuntimeSpec:
        python, packages, tag = runtime_of(folder)
        spec = PACKAGE_SETS.get(packages, {}).get(python)
        if spec is not None and spec.tag == tag:
            return spec
        with acquire_object(self._objects, lock, cancel) as path:
            text = path.read_text(encoding="utf-8")
        spec = RuntimeSpec(python=python, packages=packages, lock=text, imports=RUNNER_IMPORTS)
        if spec.tag != tag:
            raise PlatformError(f"The lock of the runtime {folder} does not match its name.")
        return spec
