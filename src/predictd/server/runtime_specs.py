"""Runtime specs in storage, so that every machine of a deployment can build each runtime.

The key of a spec is the folder name of its runtime, which contains the hash of the spec.
"""

import json
import tempfile
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.runtimes import PACKAGE_SETS, BuiltRuntime, RuntimeSpec
from predictd.runtimes.specs import RUNNER_IMPORTS
from predictd.storage import Storage

FOLDER = "runtimes"


def spec_key(folder: str) -> str:
    """Return the storage key of the spec of the runtime in this folder."""
    return f"{FOLDER}/{folder}.json"


def store_spec(storage: Storage, spec: RuntimeSpec) -> None:
    """Store the spec if it is missing."""
    key = spec_key(spec.folder_name)
    if storage.stat(key) is not None:
        return
    facts = {"python": spec.python, "packages": spec.packages, "imports": spec.imports, "lock": spec.lock}
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(facts), encoding="utf-8")
        storage.put_file(key, path)


def find_spec(storage: Storage, folder: str) -> RuntimeSpec | None:
    """Return the spec of the runtime in this folder, packaged with predictd or stored.

    Raises:
        PlatformError: the stored spec is damaged.
    """
    specs = (spec for specs in PACKAGE_SETS.values() for spec in specs.values())
    packaged = next((spec for spec in specs if spec.folder_name == folder), None)
    if packaged is not None or storage.stat(spec_key(folder)) is None:
        return packaged
    with storage.local_path(spec_key(folder)) as path:
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            spec = RuntimeSpec(
                python=facts["python"], packages=facts["packages"], imports=tuple(facts["imports"]), lock=facts["lock"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PlatformError(f"The spec of the runtime {folder} in storage is damaged.") from error
    if spec.folder_name != folder:
        raise PlatformError(f"The spec of the runtime {folder} in storage is that of {spec.folder_name}.")
    return spec


def built_spec(built: BuiltRuntime) -> RuntimeSpec:
    """Return the spec that a runtime on this machine was built from."""
    _, _, packages = built.image_name.removeprefix("numerai_predict_py_").partition("_")[2].partition("_")
    packages = packages or "core"
    python = built.paths.version
    packaged = PACKAGE_SETS.get(packages, {}).get(python)
    return RuntimeSpec(
        python=python,
        packages=packages,
        imports=packaged.imports if packaged is not None else RUNNER_IMPORTS,
        lock=built.lock.read_text(encoding="utf-8"),
    )
