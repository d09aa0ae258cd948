"""Presigned transfers: PUT, GET with ranges, HEAD and form POST of one object each, streamed to and from the disk.

The signature of the URL, never a token, says what is allowed.
"""

import errno
import logging

import structlog
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from predictd.api.receiving import WRITERS, Body, Form, Sink
from predictd.domain.errors import (
    ForbiddenTransferError,
    InvalidInputError,
    PlatformError,
    PredictdError,
    TooLargeError,
)
from predictd.storage import Draft, FolderStorage, Receiver
from predictd.storage.keys import check_key
from predictd.storage.signing import Grant

log = structlog.get_logger()

_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}
# Its parser warns of each byte that is out of place, which anybody can send.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def transfer_routes(storage: Receiver) -> list[Route]:
    """The routes that the storage's URLs point to: only a folder's objects are fetched from the server itself."""
    if isinstance(storage, FolderStorage):
        return [*_upload_routes(storage), *_download_routes(storage)]
    return _upload_routes(storage)


def _upload_routes(storage: Receiver) -> list[Route]:

    async def put(request: Request) -> Response:
        body = Body(request)
        try:
            grant = _granted(request, storage, "PUT")
            _check_length(request, grant.max_bytes)
            with storage.draft(grant.key) as draft:
                await _receive(request, body, Sink(draft, grant.max_bytes))
                await to_thread.run_sync(draft.commit, limiter=WRITERS)
        except (PredictdError, OSError, ClientDisconnect) as error:
            return await _refuse(body, error)
        return Response(status_code=200)

    async def post(request: Request) -> Response:
        body = Body(request)
        try:
            await _receive_form(request, body, storage)
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
            return PlainTextResponse("There is no such object.\n", 404)
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
        raise ForbiddenTransferError("The URL is not one that this server gave out.") from error


def _check_length(request: Request, max_bytes: int) -> None:
    """Refuse early what says that it is too large."""
    length = request.headers.get("content-length", "")
    if max_bytes and length.isdecimal() and int(length) > max_bytes:
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


async def _receive_form(request: Request, body: Body, storage: Receiver) -> None:
    """Read a form whose last field is the file; what stands before it says what is allowed."""
    form = Form(request.headers.get("content-type", ""))
    draft: Draft | None = None
    sink: Sink | None = None
    try:
        async for content in form.file_of(body):
            if sink is None:
                grant = _read_grant("POST", form.fields.get("key", ""), form.fields)
                grant.verify(storage.secret, form.fields.get("signature", ""))
                draft = storage.draft(grant.key)
                sink = Sink(draft, grant.max_bytes)
            await sink.write(content)
        if sink is not None and draft is not None:
            await sink.flush()
            await to_thread.run_sync(draft.commit, limiter=WRITERS)
    finally:
        if draft is not None:
            draft.discard()


async def _refuse(body: Body, error: Exception) -> Response:
    """The answer to a transfer that failed; nothing of it is kept."""
    if isinstance(error, ClientDisconnect):
        return PlainTextResponse("The object did not arrive whole; nothing of it is kept.\n", 400)
    await body.drain()
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY:
        return PlainTextResponse("Another object lies where this one needs a folder; nothing was kept.\n", 409)
    if isinstance(error, OSError):
        log.error("transfer_failed", error=str(error))
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return PlainTextResponse("The server's disk is full; nothing was kept. Try again later.\n", 507)
        return PlainTextResponse("The server could not store the object; nothing was kept. Try again.\n", 500)
    message = error.message if isinstance(error, PredictdError) else ""
    kinds = ((ForbiddenTransferError, 403), (TooLargeError, 413), (PlatformError, 503))
    status = next((status for kind, status in kinds if isinstance(error, kind)), 400)
    return PlainTextResponse(f"{message}\n", status, headers={"Connection": "close"})
