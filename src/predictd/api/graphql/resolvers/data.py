"""Data files."""

from datetime import timedelta
from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.graphql.resolvers.objects import Info, context_of
from predictd.data.layout import list_version, round_key, version_key
from predictd.data.schema import LIVE_FILES
from predictd.db.catalog import list_data_versions
from predictd.db.rounds import find_round, latest_round
from predictd.domain.errors import NotFoundError
from predictd.domain.limits import PRESIGNED_URL_SECONDS
from predictd.domain.names import CLASSIC
from predictd.http.context import Context

query = QueryType()
mutation = MutationType()

DOWNLOAD_SECONDS = 6 * 3600


@query.field("listDatasets")
def resolve_list_datasets(
    _: Any,
    info: Info,
    round: int | None = None,
    tournament: int | None = None,
) -> list[str]:
    """Return the names of all files."""
    context = context_of(info)
    _round_number(context, round)
    return [f"{version}/{filename}" for version in _versions(context) for filename in _files(context, version)]


@query.field("dataset")
def resolve_dataset(
    _: Any,
    info: Info,
    filename: str,
    round: int | None = None,
    tournament: int | None = None,
) -> str:
    """Return a URL of the file; a live file is that of the given round, otherwise of the latest."""
    context = context_of(info)
    version, _slash, name = filename.partition("/")
    if version not in _versions(context) or name not in _files(context, version):
        raise NotFoundError(f"Dataset {filename[:200]!r} not found. See listDatasets for the available files.")
    number = _round_number(context, round)
    key = version_key(version, name)
    if name in LIVE_FILES and number is not None:
        key = round_key(version, number, name)
        if context.storage.stat(key) is None:
            raise NotFoundError(f"Dataset {filename[:200]!r} was not published for round {number}.")
    expires_at = context.now + timedelta(seconds=max(PRESIGNED_URL_SECONDS, DOWNLOAD_SECONDS))
    return context.storage.presign("GET", key, expires_at=expires_at, filename=name)


def _versions(context: Context) -> list[str]:
    return [version.name for version in list_data_versions(context.session)]


def _files(context: Context, version: str) -> list[str]:
    return list_version(context.storage, version)


def _round_number(context: Context, number: int | None) -> int | None:
    """Return the round of live files: the given one, otherwise the latest; None before the first."""
    if number:
        if find_round(context.session, CLASSIC, number) is None:
            raise NotFoundError(f"Round {number} not found.")
        return number
    latest = latest_round(context.session, CLASSIC, context.now)
    return latest.number if latest is not None else None
