"""Presigned transfers of one object each: PUT, GET with ranges, HEAD, and form POST, streamed to and from the disk.

The signature of the URL authorizes the transfer; there are no tokens.
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
from predictd.http.multipart import WRITERS, Body, BufferedWriter, FileForm
from predictd.storage import AtomicUpload, FolderStorage, UploadStorage
from predictd.storage.keys import check_key
from predictd.storage.signing import Grant
from predictd.uploads.byte_metering import ByteMeter

log = structlog.get_logger()

_KEY_CONFLICTS = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}
_MAX_DIGITS = 19
# The parser logs a warning for each malformed byte, which anybody can send.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def transfer_routes(storage: UploadStorage, byte_meter: ByteMeter | None = None) -> list[Route]:
    """Return the routes of presigned URLs; downloads are served only for a storage folder.

    `byte_meter` checks quotas and disk space of uploads; None checks neither.
    """
    if isinstance(storage, FolderStorage):
        return [*_upload_routes(storage, byte_meter), *_download_routes(storage)]
    return _upload_routes(storage, byte_meter)


def _upload_routes(storage: UploadStorage, byte_meter: ByteMeter | None) -> list[Route]:

    async def put(request: Request) -> Response:
        body = Body(request)
        try:
            grant = _verified_grant(request, storage, "PUT")
            _check_length(request, grant.max_bytes)
            async with _open_upload(storage, byte_meter, grant, _declared_length(request)) as (draft, writer):
                await _receive(request, body, writer)
                await to_thread.run_sync(draft.commit, limiter=WRITERS)
        except (PredictdError, OSError, ClientDisconnect) as error:
            return await _error_response(body, error)
        return Response(status_code=200)

    async def post(request: Request) -> Response:
        body = Body(request)
        try:
            await _receive_form(request, body, storage, byte_meter)
        except (PredictdError, OSError, ClientDisconnect) as error:
            return await _error_response(body, error)
        return Response(status_code=204)

    return [Route("/files", post, methods=["POST"]), Route("/files/{key:path}", put, methods=["PUT"])]


def _download_routes(storage: FolderStorage) -> list[Route]:
    async def get(request: Request) -> Response:
        try:
            grant = _verified_grant(request, storage, "GET")
        except PredictdError as error:
            return await _error_response(Body(request), error)
        path = storage.folder(grant.key)
        if not await to_thread.run_sync(path.is_file):
            return PlainTextResponse("Object not found.\n", 404)
        return FileResponse(
            path, filename=grant.filename or path.name, media_type="application/octet-stream", stat_result=path.stat()
        )

    return [Route("/files/{key:path}", get, methods=["GET", "HEAD"])]


def _verified_grant(request: Request, storage: UploadStorage, method: str) -> Grant:
    """Return what the URL allows; raise ForbiddenTransferError unless its signature is valid."""
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
async def _open_upload(
    storage: UploadStorage, byte_meter: ByteMeter | None, grant: Grant, declared_bytes: int = 0
) -> AsyncIterator[tuple[AtomicUpload, BufferedWriter]]:
    """Yield the draft of an object and the writer of its bytes; the object is stored only if the draft is committed.

    Raises:
        LimitReachedError: the account may not store so much.
        BusyError: the disk has no room for it.
    """
    upload = None
    if byte_meter is not None:
        upload = await to_thread.run_sync(byte_meter.begin, grant.key, declared_bytes, limiter=WRITERS)
    try:
        with storage.start_upload(grant.key) as draft:
            yield draft, BufferedWriter(draft, grant.max_bytes, upload.admit if upload is not None else None)
    finally:
        if upload is not None:
            await to_thread.run_sync(upload.end, limiter=WRITERS)


def _declared_length(request: Request) -> int:
    """Return the Content-Length of the request, 0 if it is missing."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < _MAX_DIGITS else 0


def _check_length(request: Request, max_bytes: int) -> None:
    """Raise TooLargeError if the declared length is too large."""
    if max_bytes and _declared_length(request) > max_bytes:
        raise TooLargeError(
            f"The object is larger than the {max_bytes} bytes that this URL allows. Send a smaller object."
        )


async def _receive(request: Request, body: Body, writer: BufferedWriter) -> None:
    async for chunk in body.chunks():
        await writer.write(chunk)
    await writer.flush()
    expected = request.headers.get("content-length", "")
    if expected.isdecimal() and int(expected) != writer.received:
        raise ClientDisconnect


async def _receive_form(request: Request, body: Body, storage: UploadStorage, byte_meter: ByteMeter | None) -> None:
    """Read a form whose last field is the file; the fields before it are the signed grant."""
    form = FileForm(request.headers.get("content-type", ""))
    contents = form.file_chunks(body)
    first = await anext(contents)
    grant = _read_grant("POST", form.fields.get("key", ""), form.fields)
    grant.verify(storage.secret, form.fields.get("signature", ""))
    async with _open_upload(storage, byte_meter, grant) as (draft, writer):
        await writer.write(first)
        async for content in contents:
            await writer.write(content)
        await writer.flush()
        await to_thread.run_sync(draft.commit, limiter=WRITERS)


async def _error_response(body: Body, error: Exception) -> Response:
    """Return the response to a failed transfer, of which nothing is stored."""
    if isinstance(error, ClientDisconnect):
        return PlainTextResponse("The upload was interrupted and nothing was saved. Upload the object again.\n", 400)
    await body.drain()
    if isinstance(error, OSError) and error.errno in _KEY_CONFLICTS:
        return PlainTextResponse("Another object exists under a prefix of this key, so nothing was saved.\n", 409)
    if isinstance(error, OSError):
        log.error("transfer_failed", error=str(error))
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return PlainTextResponse("The server's disk is full, so nothing was saved. Try again later.\n", 507)
        return PlainTextResponse("The server could not store the object. Try again.\n", 500)
    message = error.message if isinstance(error, PredictdError) else ""
    status_codes = (
        (ForbiddenTransferError, 403),
        (TooLargeError, 413),
        (LimitReachedError, 413),
        (BusyError, 507),
        (PlatformError, 503),
    )
    status_code = next((code for kind, code in status_codes if isinstance(error, kind)), 400)
    return PlainTextResponse(f"{message}\n", status_code, headers={"Connection": "close"})
