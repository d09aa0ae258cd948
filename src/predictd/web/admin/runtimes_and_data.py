"""Data versions and runtimes: what there is, which is the default, and what is offered no more."""

from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.data.layout import version_key
from predictd.data.listing import list_version
from predictd.db.catalogue import list_data_versions, list_runtimes, make_default, set_deprecated
from predictd.db.models import DataVersion, Pickle, Runtime
from predictd.domain.errors import NotFoundError
from predictd.runtimes import load
from predictd.web.admin.permissions import admin_form, admin_page
from predictd.web.visits import Handler, Visit

Offered = TypeVar("Offered", Runtime, DataVersion)


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a data version, with its size in bytes."""

    name: str
    size: int


def catalogue_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    changes: dict[str, Handler] = {"default": default, "deprecate": deprecate, "restore": restore}
    return [
        admin_page(services, "/admin/data", show_data),
        admin_page(services, "/admin/runtimes", show_runtimes),
        *(admin_form(services, f"/admin/data/{{id}}/{name}", take, show_data) for name, take in changes.items()),
        *(
            admin_form(services, f"/admin/runtimes/{{id}}/{name}", take, show_runtimes)
            for name, take in changes.items()
        ),
    ]


def show_data(visit: Visit) -> Response:
    """The data versions with their files."""
    versions = [*list_data_versions(visit.session), *list_data_versions(visit.session, deprecated=True)]
    storage = visit.services.storage
    files = {}
    for version in versions:
        names = list_version(storage, version.name)
        files[version.id] = [File(name=one, size=storage.stat(version_key(version.name, one)) or 0) for one in names]
    return visit.page(
        "admin/data.html", versions=versions, files=files, pickles=_pickles(visit, Pickle.data_version_id)
    )


def show_runtimes(visit: Visit) -> Response:
    """The runtimes, and whether this machine has them."""
    return visit.page(
        "admin/runtimes.html",
        runtimes=[*list_runtimes(visit.session), *list_runtimes(visit.session, deprecated=True)],
        built={one.folder.name for one in load(visit.services.settings.runtimes_home)},
        pickles=_pickles(visit, Pickle.runtime_id),
    )


def default(visit: Visit) -> Response:
    """What new uploads get that name none."""
    with visit.write() as session:
        if _is_data(visit):
            make_default(session, _find(session, DataVersion, visit.part("id")))
        else:
            make_default(session, _find(session, Runtime, visit.part("id")))
    return _back(visit, "default")


def deprecate(visit: Visit) -> Response:
    """Offered to new uploads no more."""
    return _set_deprecated(visit, is_deprecated=True)


def restore(visit: Visit) -> Response:
    """Offered again."""
    return _set_deprecated(visit, is_deprecated=False)


def _set_deprecated(visit: Visit, *, is_deprecated: bool) -> Response:
    with visit.write() as session:
        if _is_data(visit):
            set_deprecated(session, _find(session, DataVersion, visit.part("id")), is_deprecated=is_deprecated)
        else:
            set_deprecated(session, _find(session, Runtime, visit.part("id")), is_deprecated=is_deprecated)
    return _back(visit, "deprecated" if is_deprecated else "restored")


def _is_data(visit: Visit) -> bool:
    return visit.request.url.path.startswith("/admin/data/")


def _back(visit: Visit, done: str) -> Response:
    return visit.go("/admin/data" if _is_data(visit) else "/admin/runtimes", done)


def _find(session: sa.orm.Session, table: type[Offered], key: str) -> Offered:
    found = session.get(table, key)
    if found is None:
        raise NotFoundError(f"{'Data version' if table is DataVersion else 'Runtime'} {key[:64]!r} not found.")
    return found


def _pickles(visit: Visit, column: sa.orm.InstrumentedAttribute[str]) -> dict[str, int]:
    """How many pickles each of them has."""
    rows = visit.session.execute(sa.select(column, sa.func.count()).group_by(column))
    return {row[0]: row[1] for row in rows}
