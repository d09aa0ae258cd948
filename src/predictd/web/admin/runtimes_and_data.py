"""Admin pages of data versions and runtimes: list, default, deprecate, and restore."""

from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.data.layout import list_version, version_key
from predictd.db.catalog import list_data_versions, list_runtimes, set_default, set_deprecated
from predictd.db.models import DataVersion, Pickle, Runtime
from predictd.domain.errors import NotFoundError
from predictd.http.services import Services
from predictd.runtimes import load
from predictd.web.admin.permissions import admin_form, admin_page
from predictd.web.dispatch import Handler
from predictd.web.request import PageRequest

Catalogued = TypeVar("Catalogued", Runtime, DataVersion)


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file of a data version, with its size in bytes."""

    name: str
    size_bytes: int


def catalogue_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    actions: dict[str, Handler] = {"default": choose_default, "deprecate": deprecate, "restore": restore}
    return [
        admin_page(services, "/admin/data", show_data),
        admin_page(services, "/admin/runtimes", show_runtimes),
        *(
            admin_form(services, f"/admin/data/{{id}}/{action}", handler, show_data)
            for action, handler in actions.items()
        ),
        *(
            admin_form(services, f"/admin/runtimes/{{id}}/{action}", handler, show_runtimes)
            for action, handler in actions.items()
        ),
    ]


def show_data(request: PageRequest) -> Response:
    """Show the data versions with their files."""
    versions = [*list_data_versions(request.session), *list_data_versions(request.session, deprecated=True)]
    storage = request.services.storage
    files = {}
    for version in versions:
        names = list_version(storage, version.name)
        files[version.id] = [
            DataFile(name=name, size_bytes=storage.stat(version_key(version.name, name)) or 0) for name in names
        ]
    return request.render(
        "admin/data.html", versions=versions, files=files, pickles=_pickles(request, Pickle.data_version_id)
    )


def show_runtimes(request: PageRequest) -> Response:
    """Show the runtimes and whether this server has built them."""
    return request.render(
        "admin/runtimes.html",
        runtimes=[*list_runtimes(request.session), *list_runtimes(request.session, deprecated=True)],
        built={runtime.folder.name for runtime in load(request.services.settings.runtimes_home)},
        pickles=_pickles(request, Pickle.runtime_id),
    )


def choose_default(request: PageRequest) -> Response:
    """Make a data version or runtime the default of new uploads."""
    with request.write() as session:
        if _is_data_version(request):
            set_default(session, _find(session, DataVersion, request.path_param("id")))
        else:
            set_default(session, _find(session, Runtime, request.path_param("id")))
    return _redirect(request, "default")


def deprecate(request: PageRequest) -> Response:
    """Deprecate a data version or runtime."""
    return _set_deprecated(request, is_deprecated=True)


def restore(request: PageRequest) -> Response:
    """Restore a deprecated data version or runtime."""
    return _set_deprecated(request, is_deprecated=False)


def _set_deprecated(request: PageRequest, *, is_deprecated: bool) -> Response:
    with request.write() as session:
        if _is_data_version(request):
            set_deprecated(session, _find(session, DataVersion, request.path_param("id")), is_deprecated=is_deprecated)
        else:
            set_deprecated(session, _find(session, Runtime, request.path_param("id")), is_deprecated=is_deprecated)
    return _redirect(request, "deprecated" if is_deprecated else "restored")


def _is_data_version(request: PageRequest) -> bool:
    return request.http.url.path.startswith("/admin/data/")


def _redirect(request: PageRequest, message: str) -> Response:
    return request.redirect("/admin/data" if _is_data_version(request) else "/admin/runtimes", message)


def _find(session: sa.orm.Session, table: type[Catalogued], row_id: str) -> Catalogued:
    row = session.get(table, row_id)
    if row is None:
        raise NotFoundError(f"{'Data version' if table is DataVersion else 'Runtime'} {row_id[:64]!r} not found.")
    return row


def _pickles(request: PageRequest, column: sa.orm.InstrumentedAttribute[str]) -> dict[str, int]:
    """Return the number of pickles by data version or runtime."""
    rows = request.session.execute(sa.select(column, sa.func.count()).group_by(column))
    return {row[0]: row[1] for row in rows}
