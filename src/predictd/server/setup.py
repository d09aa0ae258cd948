"""What a deployment needs before it can run models: a runtime and a data version. The first start makes both."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import select

from predictd.data import generate, import_version, plan_named
from predictd.data.layout import version_key
from predictd.data.schema import FEATURES_FILE
from predictd.db.catalogue import (
    forget_runtime,
    known_runtime,
    list_data_versions,
    record_data_version,
    record_runtime,
)
from predictd.db.models import DataVersion, Runtime
from predictd.db.rounds import current_round
from predictd.domain.errors import ConflictError, RuntimeMissingError, SetupError
from predictd.domain.names import CLASSIC, check_version_name
from predictd.domain.runs import RuntimePaths
from predictd.rounds.lifecycle import publish
from predictd.runtimes import BuiltRuntime, RuntimeSpec, build, default_spec, load, remove
from predictd.server.deployment import Deployment
from predictd.server.runtime_specs import find_spec, keep_spec, spec_of

log = structlog.get_logger()

SYNTHETIC_VERSION = "v5.3"

Say = Callable[[str], None]
Progress = Callable[[str, float], None]


def ensure_runtime(deployment: Deployment, say: Say) -> None:
    """Build the default runtime, unless it is built here; locks that only this machine has are stored for others.

    The first start of a deployment chooses the default one.
    """
    with deployment.database.read() as session:
        known = {one.folder: one.is_default for one in session.scalars(select(Runtime))}
    for built in load(deployment.settings.runtimes_home):
        if built.folder.name in known and find_spec(deployment.storage, built.folder.name) is None:
            keep_spec(deployment.storage, spec_of(built))
    default = next((folder for folder, is_default in known.items() if is_default), None)
    if default is None:
        build_runtime(deployment, default_spec(), say, default=True)
    elif _built(deployment, default) is None:
        try:
            find_runtime(deployment, default, say)
        except RuntimeMissingError as error:
            # An older release had another lock, or this machine lacks its Python.
            say(f"The default runtime is not on this machine: {error.message}")
            build_runtime(deployment, default_spec(), say, default=True)


def build_missing_runtimes(deployment: Deployment, say: Say) -> list[BuiltRuntime]:
    """Build every runtime that the deployment has and this machine lacks; answers these.

    Raises:
        RuntimeMissingError: one can't be built here.
    """
    with deployment.database.read() as session:
        folders = [one.folder for one in session.scalars(select(Runtime).order_by(Runtime.inserted_at))]
    return [_restored(deployment, folder, say) for folder in folders if _built(deployment, folder) is None]


def build_runtime(deployment: Deployment, spec: RuntimeSpec, say: Say, *, default: bool = False) -> BuiltRuntime:
    """Build a runtime, unless it is built already, and make it known to uploads."""
    built = build(spec, deployment.settings.runtimes_home, say)
    keep_spec(deployment.storage, spec)
    with deployment.database.write() as session:
        record_runtime(
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


def remove_runtime(deployment: Deployment, wanted: str) -> str:
    """Forget a runtime that no pickle was uploaded for and remove it from this machine; answers its name and tag.

    Raises:
        NotFoundError: there is no such runtime.
        ConflictError: a pickle was uploaded for it, or it is the default.
    """
    with deployment.database.write() as session:
        runtime = known_runtime(session, wanted)
        forget_runtime(session, runtime)
    built = _built(deployment, runtime.folder)
    if built is not None:
        remove(built)
    return f"{runtime.name} ({runtime.tag})"


def find_runtime(deployment: Deployment, folder: str, say: Say = log.info) -> RuntimePaths:
    """Where the runtime of that folder lies on this machine; it is built from its lock if another machine built it.

    Raises:
        RuntimeMissingError: it is not here and can't be built.
    """
    built = _built(deployment, folder) or _restored(deployment, folder, say)
    return built.paths


def has_runtime(deployment: Deployment, folder: str) -> bool:
    """Whether the runtime of that folder is built on this machine, or its lock is known; takes milliseconds."""
    return _built(deployment, folder) is not None or find_spec(deployment.storage, folder) is not None


def _restored(deployment: Deployment, folder: str, say: Say) -> BuiltRuntime:
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
    """Generate the synthetic data version, unless the deployment has a data version."""
    with deployment.database.read() as session:
        if list_data_versions(session):
            return
    storage, key = deployment.storage, version_key(SYNTHETIC_VERSION)
    if storage.stat(version_key(SYNTHETIC_VERSION, FEATURES_FILE)) is None:
        with storage.new_folder(key, progress, last=FEATURES_FILE) as folder:
            generate(folder, plan_named(deployment.settings.data_size), progress)
    with deployment.database.write() as session:
        record_data_version(session, SYNTHETIC_VERSION, datetime.now(UTC), default=True)


def import_data(deployment: Deployment, source: Path, name: str, progress: Progress, *, default: bool) -> None:
    """Import a folder of data files as a new data version, published for the open round too.

    Raises:
        InvalidInputError: the name or the files can't be taken.
        ConflictError: there is a data version of that name.
    """
    check_version_name(name)
    with deployment.database.read() as session:
        if session.scalar(select(DataVersion.id).where(DataVersion.name == name)) is not None:
            raise ConflictError(f"There is a data version {name} already; choose another name.")
        open_now = current_round(session, CLASSIC, datetime.now(UTC))
    with deployment.storage.new_folder(version_key(name), progress, last=FEATURES_FILE) as folder:
        import_version(source, folder, progress)
    if open_now is not None:
        publish(deployment.storage, name, open_now.number)
    with deployment.database.write() as session:
        record_data_version(session, name, datetime.now(UTC), default=default)


def _built(deployment: Deployment, folder: str) -> BuiltRuntime | None:
    return next((one for one in load(deployment.settings.runtimes_home) if one.folder.name == folder), None)
