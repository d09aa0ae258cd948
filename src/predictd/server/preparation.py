"""What a deployment needs before it can run models: a runtime and a data version. The first start makes both."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from predictd.data import generate, import_version, plan_named
from predictd.data.layout import version_key
from predictd.db.catalogue import (
    forget_runtime,
    known_runtime,
    list_data_versions,
    record_data_version,
    record_runtime,
)
from predictd.db.rounds import current_round
from predictd.db.tables import DataVersion, Runtime
from predictd.domain.errors import ConflictError, PlatformError
from predictd.domain.names import CLASSIC, check_version_name
from predictd.domain.runs import RuntimePaths
from predictd.rounds.life import publish
from predictd.runtimes import BuiltRuntime, RuntimeSpec, build, default_spec, load, remove
from predictd.server.deployment import Deployment

SYNTHETIC_VERSION = "v5.3"

Say = Callable[[str], None]
Progress = Callable[[str, float], None]


def ensure_runtime(deployment: Deployment, say: Say) -> None:
    """Build the default runtime, unless the deployment has one that is built."""
    with deployment.database.read() as session:
        default = session.scalar(select(Runtime).where(Runtime.is_default))
    if default is not None and _built(deployment, default.folder) is not None:
        return
    build_runtime(deployment, default_spec(), say, default=True)


def build_runtime(deployment: Deployment, spec: RuntimeSpec, say: Say, *, default: bool = False) -> BuiltRuntime:
    """Build a runtime, unless it is built already, and make it known to uploads."""
    built = build(spec, deployment.settings.runtimes_home, say)
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


def find_runtime(deployment: Deployment, folder: str) -> RuntimePaths:
    """Where the runtime that was built into that folder lies on this machine.

    Raises:
        PlatformError: it is not built here.
    """
    built = _built(deployment, folder)
    if built is None:
        raise PlatformError(
            f"The runtime {folder} is not built on this machine; build it with `predictd runtime build`, or with "
            "`predictd runtime add` and its lock if it is one of your own."
        )
    return built.paths


def ensure_data(deployment: Deployment, progress: Progress) -> None:
    """Generate the synthetic data version, unless the deployment has a data version."""
    with deployment.database.read() as session:
        if list_data_versions(session):
            return
    folder = deployment.storage.folder(version_key(SYNTHETIC_VERSION))
    if not (folder / "features.json").exists():
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
    import_version(source, deployment.storage.folder(version_key(name)), progress)
    if open_now is not None:
        publish(deployment.storage, name, open_now.number)
    with deployment.database.write() as session:
        record_data_version(session, name, datetime.now(UTC), default=default)


def _built(deployment: Deployment, folder: str) -> BuiltRuntime | None:
    return next((one for one in load(deployment.settings.runtimes_home) if one.folder.name == folder), None)
