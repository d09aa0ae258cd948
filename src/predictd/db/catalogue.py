"""Runtimes and data versions, among which an upload chooses."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from predictd.db.models import DataVersion, Model, Pickle, Runtime
from predictd.domain.errors import ConflictError, NotFoundError

Offered = TypeVar("Offered", Runtime, DataVersion)


def list_runtimes(session: Session, *, deprecated: bool = False) -> Sequence[Runtime]:
    """The runtimes in use, or with `deprecated` those that no new upload should choose; by Python version."""
    found = session.scalars(select(Runtime).where(Runtime.is_deprecated.is_(deprecated))).all()
    return sorted(found, key=lambda runtime: ([int(part) for part in runtime.python.split(".")], runtime.inserted_at))


def record_runtime(
    session: Session, *, name: str, image: str, tag: str, python: str, folder: str, now: datetime, default: bool = False
) -> Runtime:
    """Make a built runtime known, in place of earlier builds of the same image; the first one known is the default."""
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


def choose_runtime(session: Session, wanted: str | None) -> Runtime:
    """The runtime of that id, image name or name ('Python 3.12'); the default one for None.

    Raises:
        NotFoundError: there is no such runtime.
    """
    if wanted is None:
        runtime = session.scalar(select(Runtime).where(Runtime.is_default))
    else:
        runtime = session.scalar(
            select(Runtime)
            .where(or_(Runtime.id == wanted, Runtime.image == wanted, Runtime.name == wanted))
            .order_by(Runtime.is_deprecated, Runtime.inserted_at.desc())
            .limit(1)
        )
    if runtime is None:
        known = ", ".join(f"{known.name} ({known.id})" for known in list_runtimes(session)) or "none"
        raise NotFoundError(f"Docker image {wanted or 'default'!r} not found; there are: {known}.")
    return runtime


def known_runtime(session: Session, wanted: str) -> Runtime:
    """The runtime that an organiser means: by its id, tag, image, image:tag, name or folder; deprecated ones too.

    Of an image or a name that several have, it is the one in use.

    Raises:
        NotFoundError: there is no such runtime; names those that there are.
    """
    image, _, tag = wanted.partition(":")
    own = (Runtime.id, Runtime.tag, Runtime.image, Runtime.name, Runtime.folder)
    found = session.scalar(
        select(Runtime)
        .where(or_(*(column == wanted for column in own), and_(Runtime.image == image, Runtime.tag == tag)))
        .order_by(Runtime.is_deprecated, Runtime.inserted_at.desc())
        .limit(1)
    )
    if found is None:
        everything = [*list_runtimes(session), *list_runtimes(session, deprecated=True)]
        known = ", ".join(f"{one.name} ({one.tag})" for one in everything) or "none"
        raise NotFoundError(
            f"There is no runtime {wanted[:128]!r} here; there are: {known}. Build others with: predictd runtime build"
        )
    return found


def forget_runtime(session: Session, runtime: Runtime) -> None:
    """Forget a runtime.

    Raises:
        ConflictError: a pickle was made for it, or it is the default of new uploads.
    """
    if runtime.is_default:
        raise ConflictError(
            f"The runtime {runtime.name} ({runtime.tag}) is the default; make another the default first."
        )
    pickles = session.scalar(select(func.count()).select_from(Pickle).where(Pickle.runtime_id == runtime.id)) or 0
    if pickles:
        raise ConflictError(
            f"The runtime {runtime.name} ({runtime.tag}) can't be removed: pickles were uploaded for it ({pickles})."
        )
    session.delete(runtime)
    session.flush()


def list_data_versions(session: Session, *, deprecated: bool = False) -> Sequence[DataVersion]:
    """The data versions in use, or with `deprecated` those that no new upload should choose; newest first."""
    return session.scalars(
        select(DataVersion).where(DataVersion.is_deprecated.is_(deprecated)).order_by(DataVersion.inserted_at.desc())
    ).all()


def record_data_version(session: Session, name: str, now: datetime, *, default: bool = False) -> DataVersion:
    """Make a data version known; the first one known is the default."""
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


def make_default(session: Session, chosen: Offered) -> None:
    """Make it what new uploads get that name none.

    Raises:
        ConflictError: it is deprecated.
    """
    if chosen.is_deprecated:
        raise ConflictError(f"{chosen.name} is deprecated, so it can't be the default; restore it first.")
    table: type[Offered] = type(chosen)
    for other in session.scalars(select(table).where(table.is_default)):
        other.is_default = False
    chosen.is_default = True
    session.flush()


def set_deprecated(session: Session, chosen: Runtime | DataVersion, *, is_deprecated: bool) -> None:
    """Offer it to new uploads no more, or again; pickles that were made for it keep it.

    Raises:
        ConflictError: it is the default.
    """
    if is_deprecated and chosen.is_default:
        raise ConflictError(f"{chosen.name} is the default of new uploads; make another the default first.")
    chosen.is_deprecated = is_deprecated
    session.flush()


def published_versions(session: Session) -> Sequence[DataVersion]:
    """Those whose live data each round has: those in use, and deprecated ones that an assigned pickle is made for."""
    used = select(Pickle.data_version_id).join(Model, Model.pickle_id == Pickle.id)
    return session.scalars(
        select(DataVersion)
        .where(or_(DataVersion.is_deprecated.is_(False), DataVersion.id.in_(used)))
        .order_by(DataVersion.inserted_at.desc())
    ).all()


def choose_data_version(session: Session, wanted: str | None) -> DataVersion:
    """The data version of that id or name; the default one for None.

    Raises:
        NotFoundError: there is no such data version.
    """
    condition = DataVersion.is_default if wanted is None else or_(DataVersion.id == wanted, DataVersion.name == wanted)
    version = session.scalar(select(DataVersion).where(condition))
    if version is None:
        known = ", ".join(f"{known.name} ({known.id})" for known in list_data_versions(session)) or "none"
        raise NotFoundError(f"Data version {wanted or 'default'!r} not found; there are: {known}.")
    return version
