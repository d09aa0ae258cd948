"""Runtimes and data versions that uploads can select."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from predictd.db.models import DataVersion, Model, Pickle, Runtime
from predictd.domain.errors import ConflictError, NotFoundError

Choice = TypeVar("Choice", Runtime, DataVersion)


def list_runtimes(session: Session, *, deprecated: bool = False) -> Sequence[Runtime]:
    """Return the active runtimes, or the deprecated ones, by Python version."""
    runtimes = session.scalars(select(Runtime).where(Runtime.is_deprecated.is_(deprecated))).all()
    return sorted(
        runtimes, key=lambda runtime: ([int(part) for part in runtime.python.split(".")], runtime.inserted_at)
    )


def register_runtime(
    session: Session, *, name: str, image: str, tag: str, python: str, folder: str, now: datetime, default: bool = False
) -> Runtime:
    """Register a built runtime and deprecate earlier builds of its image; the first one becomes the default."""
    runtime = session.scalar(select(Runtime).where(Runtime.image == image, Runtime.tag == tag))
    if runtime is None:
        runtime = Runtime(image=image, tag=tag, name=name, python=python, folder=folder, inserted_at=now)
        session.add(runtime)
    runtime.folder, runtime.is_deprecated = folder, False
    session.flush()
    replaced = session.scalars(
        select(Runtime).where(Runtime.image == image, Runtime.id != runtime.id, Runtime.is_deprecated.is_(False))
    ).all()
    has_default = session.scalar(select(Runtime.id).where(Runtime.is_default)) is not None
    if default or not has_default or any(old.is_default for old in replaced):
        session.execute(update(Runtime).values(is_default=False))
        runtime.is_default = True
    for old in replaced:
        old.is_deprecated = True
    session.flush()
    return runtime


def choose_runtime(session: Session, name: str | None) -> Runtime:
    """Return the runtime with this id, image name or name ('Python 3.12'); the default for None.

    Raises:
        NotFoundError: there is no such runtime.
    """
    if name is None:
        runtime = session.scalar(select(Runtime).where(Runtime.is_default))
    else:
        runtime = session.scalar(
            select(Runtime)
            .where(or_(Runtime.id == name, Runtime.image == name, Runtime.name == name))
            .order_by(Runtime.is_deprecated, Runtime.inserted_at.desc())
            .limit(1)
        )
    if runtime is None:
        available = ", ".join(f"{available.name} ({available.id})" for available in list_runtimes(session)) or "none"
        raise NotFoundError(f"Docker image {name or 'default'!r} not found; available: {available}.")
    return runtime


def get_runtime(session: Session, name: str) -> Runtime:
    """Return the runtime with this id, tag, image, image:tag, name or folder, including deprecated ones.

    If several runtimes match, the active one is returned.

    Raises:
        NotFoundError: there is no such runtime; the message lists the available ones.
    """
    image, _, tag = name.partition(":")
    columns = (Runtime.id, Runtime.tag, Runtime.image, Runtime.name, Runtime.folder)
    runtime = session.scalar(
        select(Runtime)
        .where(or_(*(column == name for column in columns), and_(Runtime.image == image, Runtime.tag == tag)))
        .order_by(Runtime.is_deprecated, Runtime.inserted_at.desc())
        .limit(1)
    )
    if runtime is None:
        everything = [*list_runtimes(session), *list_runtimes(session, deprecated=True)]
        available = ", ".join(f"{other.name} ({other.tag})" for other in everything) or "none"
        raise NotFoundError(
            f"There is no runtime {name[:128]!r} here; available: {available}. Build one with: predictd runtime build"
        )
    return runtime


def delete_runtime(session: Session, runtime: Runtime) -> None:
    """Delete a runtime.

    Raises:
        ConflictError: a pickle uses it, or it is the default of new uploads.
    """
    if runtime.is_default:
        raise ConflictError(f"The runtime {runtime.name} ({runtime.tag}) is the default; set another default first.")
    pickles = session.scalar(select(func.count()).select_from(Pickle).where(Pickle.runtime_id == runtime.id)) or 0
    if pickles:
        raise ConflictError(
            f"The runtime {runtime.name} ({runtime.tag}) can't be removed: {pickles} of the pickles use it. "
            "Deprecate it instead, so that new uploads can't choose it."
        )
    session.delete(runtime)
    session.flush()


def list_data_versions(session: Session, *, deprecated: bool = False) -> Sequence[DataVersion]:
    """Return the active data versions, or the deprecated ones, newest first."""
    return session.scalars(
        select(DataVersion).where(DataVersion.is_deprecated.is_(deprecated)).order_by(DataVersion.inserted_at.desc())
    ).all()


def register_data_version(session: Session, name: str, now: datetime, *, default: bool = False) -> DataVersion:
    """Register a data version; the first one becomes the default."""
    version = session.scalar(select(DataVersion).where(DataVersion.name == name))
    if version is None:
        version = DataVersion(name=name, inserted_at=now)
        session.add(version)
    session.flush()
    if default or session.scalar(select(DataVersion.id).where(DataVersion.is_default)) is None:
        session.execute(update(DataVersion).values(is_default=False))
        version.is_default = True
    session.flush()
    return version


def set_default(session: Session, choice: Choice) -> None:
    """Set the runtime or data version that new uploads get by default.

    Raises:
        ConflictError: it is deprecated.
    """
    if choice.is_deprecated:
        raise ConflictError(f"{choice.name} is deprecated, so it can't be the default; restore it first.")
    table: type[Choice] = type(choice)
    for other in session.scalars(select(table).where(table.is_default)):
        other.is_default = False
    choice.is_default = True
    session.flush()


def set_deprecated(session: Session, choice: Runtime | DataVersion, *, is_deprecated: bool) -> None:
    """Deprecate the runtime or data version for new uploads, or restore it; existing pickles are not affected.

    Raises:
        ConflictError: it is the default.
    """
    if is_deprecated and choice.is_default:
        raise ConflictError(f"{choice.name} is the default of new uploads; set another default first.")
    choice.is_deprecated = is_deprecated
    session.flush()


def list_published_versions(session: Session) -> Sequence[DataVersion]:
    """Return the data versions to publish each round: active ones, and deprecated ones that assigned pickles use."""
    used = select(Pickle.data_version_id).join(Model, Model.pickle_id == Pickle.id)
    return session.scalars(
        select(DataVersion)
        .where(or_(DataVersion.is_deprecated.is_(False), DataVersion.id.in_(used)))
        .order_by(DataVersion.inserted_at.desc())
    ).all()


def choose_data_version(session: Session, name: str | None) -> DataVersion:
    """Return the data version with this id or name; the default for None.

    Raises:
        NotFoundError: there is no such data version.
    """
    condition = DataVersion.is_default if name is None else or_(DataVersion.id == name, DataVersion.name == name)
    version = session.scalar(select(DataVersion).where(condition))
    if version is None:
        available = (
            ", ".join(f"{available.name} ({available.id})" for available in list_data_versions(session)) or "none"
        )
        raise NotFoundError(f"Data version {name or 'default'!r} not found; available: {available}.")
    return version
