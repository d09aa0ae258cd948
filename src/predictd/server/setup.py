"""Setup of a deployment: its runtimes and data versions. The first start creates one of each."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import select

from predictd.data import generate, import_version, plan_named
from predictd.data.layout import version_key
from predictd.data.schema import FEATURES_FILE
from predictd.db.catalog import (
    delete_runtime,
    get_runtime,
    list_data_versions,
    register_data_version,
    register_runtime,
)
from predictd.db.models import DataVersion, Runtime
from predictd.db.rounds import current_round
from predictd.domain.errors import ConflictError, RuntimeMissingError, SetupError
from predictd.domain.names import CLASSIC, check_version_name
from predictd.domain.runs import RuntimePaths
from predictd.rounds.lifecycle import publish
from predictd.runtimes import BuiltRuntime, RuntimeSpec, build, default_spec, load, remove
from predictd.server.deployment import Deployment
from predictd.server.runtime_specs import built_spec, find_spec, store_spec

log = structlog.get_logger()

SYNTHETIC_VERSION = "v5.3"

Echo = Callable[[str], None]
Progress = Callable[[str, float], None]


def ensure_runtime(deployment: Deployment, say: Echo) -> None:
    """Build the default runtime if this machine does not have it, and store specs that only this machine has.

    The first start of a deployment selects the default runtime.
    """
    with deployment.database.read() as session:
        runtimes = {runtime.folder: runtime.is_default for runtime in session.scalars(select(Runtime))}
    for built in load(deployment.settings.runtimes_home):
        if built.folder.name in runtimes and find_spec(deployment.storage, built.folder.name) is None:
            store_spec(deployment.storage, built_spec(built))
    default = next((folder for folder, is_default in runtimes.items() if is_default), None)
    if default is None:
        build_runtime(deployment, default_spec(), say, default=True)
    elif _built(deployment, default) is None:
        try:
            find_runtime(deployment, default, say)
        except RuntimeMissingError as error:
            # An older release had another lock, or this machine lacks its Python.
            say(f"The default runtime is not on this machine: {error.message}")
            build_runtime(deployment, default_spec(), say, default=True)


def build_missing_runtimes(deployment: Deployment, say: Echo) -> list[BuiltRuntime]:
    """Build and return every runtime of the deployment that this machine does not have.

    Raises:
        RuntimeMissingError: a runtime can't be built here.
    """
    with deployment.database.read() as session:
        folders = [runtime.folder for runtime in session.scalars(select(Runtime).order_by(Runtime.inserted_at))]
    return [_rebuild(deployment, folder, say) for folder in folders if _built(deployment, folder) is None]


def build_runtime(deployment: Deployment, spec: RuntimeSpec, say: Echo, *, default: bool = False) -> BuiltRuntime:
    """Build a runtime if needed, and register it for uploads."""
    built = build(spec, deployment.settings.runtimes_home, say)
    store_spec(deployment.storage, spec)
    with deployment.database.write() as session:
        register_runtime(
            session,
            name=built.display_name,
            image=built.image_name,
            tag=built.tag,
            python=built.paths.version,
            folder=built.folder.name,
            now=datetime.now(UTC),
            default=default,
        )
    return built


def remove_runtime(deployment: Deployment, name: str) -> str:
    """Delete an unused runtime, also from this machine; return its name and tag.

    Raises:
        NotFoundError: there is no such runtime.
        ConflictError: a pickle uses it, or it is the default.
    """
    with deployment.database.write() as session:
        runtime = get_runtime(session, name)
        delete_runtime(session, runtime)
    built = _built(deployment, runtime.folder)
    if built is not None:
        remove(built)
    return f"{runtime.name} ({runtime.tag})"


def find_runtime(deployment: Deployment, folder: str, say: Echo = log.info) -> RuntimePaths:
    """Return the paths of the runtime in this folder; build it from its spec if only another machine has it.

    Raises:
        RuntimeMissingError: the runtime is not here and can't be built.
    """
    built = _built(deployment, folder) or _rebuild(deployment, folder, say)
    return built.paths


def has_runtime(deployment: Deployment, folder: str) -> bool:
    """Return whether the runtime is built on this machine or has a spec; takes milliseconds."""
    return _built(deployment, folder) is not None or find_spec(deployment.storage, folder) is not None


def _rebuild(deployment: Deployment, folder: str, say: Echo) -> BuiltRuntime:
    spec = find_spec(deployment.storage, folder)
    if spec is None:
        raise RuntimeMissingError(
            f"The runtime {folder} is not built on this machine, and its lock is not in storage; build it with "
            "`predictd runtime build`, or with `predictd runtime add` and its lock if it is one of your own."
        )
    try:
        return build(spec, deployment.settings.runtimes_home, say)
    except SetupError as error:
        raise RuntimeMissingError(
            f"The runtime {spec.display_name} can't be built on this machine: {error.message}"
        ) from error


def ensure_data(deployment: Deployment, progress: Progress) -> None:
    """Generate the synthetic data version if the deployment has no data version."""
    with deployment.database.read() as session:
        if list_data_versions(session):
            return
    storage, key = deployment.storage, version_key(SYNTHETIC_VERSION)
    if storage.stat(version_key(SYNTHETIC_VERSION, FEATURES_FILE)) is None:
        with storage.new_folder(key, progress, last=FEATURES_FILE) as folder:
            generate(folder, plan_named(deployment.settings.data_size), progress)
    with deployment.database.write() as session:
        register_data_version(session, SYNTHETIC_VERSION, datetime.now(UTC), default=True)


def import_data(deployment: Deployment, source: Path, name: str, progress: Progress, *, default: bool) -> None:
    """Import a folder of data files as a new data version, published for the open round too.

    Raises:
        InvalidInputError: the name or the files are invalid.
        ConflictError: a data version with this name exists.
    """
    check_version_name(name)
    with deployment.database.read() as session:
        if session.scalar(select(DataVersion.id).where(DataVersion.name == name)) is not None:
            raise ConflictError(f"A data version {name} already exists; choose another name.")
        open_now = current_round(session, CLASSIC, datetime.now(UTC))
    with deployment.storage.new_folder(version_key(name), progress, last=FEATURES_FILE) as folder:
        import_version(source, folder, progress)
    if open_now is not None:
        publish(deployment.storage, name, open_now.number)
    with deployment.database.write() as session:
        register_data_version(session, name, datetime.now(UTC), default=default)


def _built(deployment: Deployment, folder: str) -> BuiltRuntime | None:
    return next((built for built in load(deployment.settings.runtimes_home) if built.folder.name == folder), None)
