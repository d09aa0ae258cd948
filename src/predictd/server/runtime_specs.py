"""What runtimes consist of, kept in storage, so that every machine of a deployment can build each of them.

A spec lies under the name of the folder that its runtime is built into, which holds the hash of the spec.
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
    """Key of the spec of the runtime that is built into that folder."""
    return f"{FOLDER}/{folder}.json"


def keep_spec(storage: Storage, spec: RuntimeSpec) -> None:
    """Store the spec, unless it is stored."""
    key = spec_key(spec.folder_name)
    if storage.stat(key) is not None:
        return
    facts = {"python": spec.python, "packages": spec.packages, "imports": spec.imports, "lock": spec.lock}
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(facts), encoding="utf-8")
        storage.put_file(key, path)


def find_spec(storage: Storage, folder: str) -> RuntimeSpec | None:
    """The spec of the runtime that is built into that folder: one of those that come with predictd, or a stored one.

    Raises:
        PlatformError: what is stored is damaged.
    """
    known = (spec for specs in PACKAGE_SETS.values() for spec in specs.values())
    found = next((spec for spec in known if spec.folder_name == folder), None)
    if found is not None or storage.stat(spec_key(folder)) is None:
        return found
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


def spec_of(built: BuiltRuntime) -> RuntimeSpec:
    """The spec that a runtime of this machine was built from."""
    _, _, packages = built.image_name.removeprefix("numerai_predict_py_").partition("_")[2].partition("_")
    packages = packages or "core"
    python = built.paths.version
    known = PACKAGE_SETS.get(packages, {}).get(python)
    return RuntimeSpec(
        python=python,
        packages=packages,
        imports=known.imports if known is not None else RUNNER_IMPORTS,
        lock=built.lock.read_text(encoding="utf-8"),
    )
