"""Presigned transfers: PUT, GET with ranges, HEAD and form POST of one object each, streamed to and from the disk.

The signature of the URL, never a token, says what is allowed.
"""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from predictd.domain.errors import (
    BusyError,
    ForbiddenTransferError,
    InvalidInputError,
    LimitReachedError,
    PlatformError,
    PredictdError,
    TooLargeError,
)
from predictd.http.multipart import WRITERS, Body, Form, Sink
from predictd.storage import Draft, FolderStorage, Receiver
from predictd.storage.keys import check_key
from predictd.storage.signing import Grant
from predictd.uploads.byte_metering import Arrivals

log = structlog.get_logger()

_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}
_LONGEST_NUMBER = 19
# Its parser warns of each byte that is out of place, which anybody can send.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def transfer_routes(storage: Receiver, arrivals: Arrivals | None = None) -> list[Route]:
    """The routes that the storage's URLs point to: only a folder's objects are fetched from the server itself.

    `arrivals` admits what is sent; None admits all that the URLs allow.
    """
    if isinstance(storage, FolderStorage):
        return [*_upload_routes(storage, arrivals), *_download_routes(storage)]
    return _upload_routes(storage, arrivals)


def _upload_routes(storage: Receiver, arrivals: Arrivals | None) -> list[Route]:

    async def put(request: Request) -> Response:
        body = Body(request)
        try:
            grant = _granted(request, storage, "PUT")
            _check_length(request, grant.max_bytes)
            async with _incoming(storage, arrivals, grant, _declared(request)) as (draft, sink):
                await _receive(request, body, sink)
                await to_thread.run_sync(draft.commit, limiter=WRITERS)
        except (PredictdError, OSError, ClientDisconnect) as error:
            return await _refuse(body, error)
        return Response(status_code=200)

    async def post(request: Request) -> Response:
        body = Body(request)
        try:
            await _receive_form(request, body, storage, arrivals)
        except (PredictdError, OSError, ClientDisconnect) as error:
            return await _refuse(body, error)
        return Response(status_code=204)

    return [Route("/files", post, methods=["POST"]), Route("/files/{key:path}", put, methods=["PUT"])]


def _download_routes(storage: FolderStorage) -> list[Route]:
    async def get(request: Request) -> Response:
        try:
            grant = _granted(request, storage, "GET")
        except PredictdError as error:
            return await _refuse(Body(request), error)
        path = storage.folder(grant.key)
        if not await to_thread.run_sync(path.is_file):
            return PlainTextResponse("Object not found.\n", 404)
        return FileResponse(
            path, filename=grant.filename or path.name, media_type="application/octet-stream", stat_result=path.stat()
        )

    return [Route("/files/{key:path}", get, methods=["GET", "HEAD"])]


def _granted(request: Request, storage: Receiver, method: str) -> Grant:
    """What the URL allows; ForbiddenTransferError unless it is this request."""
    query = request.query_params
    grant = _read_grant(method, str(request.path_params["key"]), dict(query))
    grant.verify(storage.secret, query.get("signature", ""))
    return grant


def _read_grant(method: str, key: str, fields: dict[str, str]) -> Grant:
    try:
        return Grant(
            method=method,
            key=check_key(key),
            expires=int(fields.get("expires", "")),
            max_bytes=int(fields.get("max", "0")),
            filename=fields.get("name", ""),
        )
    except (ValueError, InvalidInputError) as error:
        raise ForbiddenTransferError("The URL was not signed by this server.") from error


@asynccontextmanager
async def _incoming(
    storage: Receiver, arrivals: Arrivals | None, grant: Grant, declared_bytes: int = 0
) -> AsyncIterator[tuple[Draft, Sink]]:
    """The draft of an object on its way and what its bytes are written to; nothing stays unless the draft is committed.

    Raises:
        LimitReachedError: the account may not store so much.
        BusyError: the disk has no room for it.
    """
    arrival = None
    if arrivals is not None:
        arrival = await to_thread.run_sync(arrivals.begin, grant.key, declared_bytes, limiter=WRITERS)
    try:
        with storage.draft(grant.key) as draft:
            yield draft, Sink(draft, grant.max_bytes, arrival.admit if arrival is not None else None)
    finally:
        if arrival is not None:
            await to_thread.run_sync(arrival.end, limiter=WRITERS)


def _declared(request: Request) -> int:
    """The length of the body as its client declares it, 0 if it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < _LONGEST_NUMBER else 0


def _check_length(request: Request, max_bytes: int) -> None:
    """Refuse early what says that it is too large."""
    if max_bytes and _declared(request) > max_bytes:
        raise TooLargeError(_too_large(max_bytes))


def _too_large(max_bytes: int) -> str:
    return f"The object is larger than the {max_bytes} bytes that this URL allows; send a smaller one."


async def _receive(request: Request, body: Body, sink: Sink) -> None:
    async for chunk in body.chunks():
        await sink.write(chunk)
    await sink.flush()
    expected = request.headers.get("content-length", "")
    if expected.isdecimal() and int(expected) != sink.received:
        raise ClientDisconnect


async def _receive_form(request: Request, body: Body, storage: Receiver, arrivals: Arrivals | None) -> None:
    """Read a form whose last field is the file; what stands before it says what is allowed."""
    form = Form(request.headers.get("content-type", ""))
    contents = form.file_of(body)
    first = await anext(contents)
    grant = _read_grant("POST", form.fields.get("key", ""), form.fields)
    grant.verify(storage.secret, form.fields.get("signature", ""))
    async with _incoming(storage, arrivals, grant) as (draft, sink):
        await sink.write(first)
        async for content in contents:
            await sink.write(content)
        await sink.flush()
        await to_thread.run_sync(draft.commit, limiter=WRITERS)


async def _refuse(body: Body, error: Exception) -> Response:
    """The answer to a transfer that failed; nothing of it is kept."""
    if isinstance(error, ClientDisconnect):
        return PlainTextResponse("The upload was interrupted and nothing was saved. Upload the object again.\n", 400)
    await body.drain()
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY:
        return PlainTextResponse("Another object exists under a prefix of this key, so nothing was saved.\n", 409)
    if isinstance(error, OSError):
        log.error("transfer_failed", error=str(error))
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return PlainTextResponse("The server's disk is full, so nothing was saved. Try again later.\n", 507)
        return PlainTextResponse("The server could not store the object. Try again.\n", 500)
    message = error.message if isinstance(error, PredictdError) else ""
    kinds = (
        (ForbiddenTransferError, 403),
        (TooLargeError, 413),
        (LimitReachedError, 413),
        (BusyError, 507),
        (PlatformError, 503),
    )
    status = next((status for kind, status in kinds if isinstance(error, kind)), 400)
    return PlainTextResponse(f"{message}\n", status, headers={"Connection": "close"})
