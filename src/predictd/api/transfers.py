"""Presigned transfers: PUT, GET with ranges, HEAD and form POST of one object each, streamed to and from the disk.

The signature of the URL, never a token, says what is allowed.
"""

import errno
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from anyio import move_on_after, to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

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

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

log = structlog.get_logger()

WRITE_BYTES = 1 << 20
FIELD_BYTES = 16 * 1024
MOST_FIELDS = 50
# A client that is refused in the middle of sending sees a broken connection instead of the answer, so what it still
# sends is read and thrown away, within bounds.
DRAIN_BYTES = 256 << 20
DRAIN_SECONDS = 60


def transfer_routes(storage: Receiver) -> list[Route]:
    """The routes that the storage's URLs point to: only a folder's objects are fetched from the server itself."""
    if isinstance(storage, FolderStorage):
        return [*_upload_routes(storage), *_download_routes(storage)]
    return _upload_routes(storage)


def _upload_routes(storage: Receiver) -> list[Route]:

    async def put(request: Request) -> Response:
        body = _Body(request)
        try:
            grant = _granted(request, storage, "PUT")
            _check_length(request, grant.max_bytes)
            with storage.draft(grant.key) as draft:
                await _receive(request, body, _Sink(draft, grant.max_bytes))
                await to_thread.run_sync(draft.commit)
        except (PredictdError, OSError, ClientDisconnect) as error:
            return await _refuse(body, error)
        return Response(status_code=200)

    async def post(request: Request) -> Response:
        body = _Body(request)
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
            return await _refuse(_Body(request), error)
        path = storage.folder(grant.key)
        if not await to_thread.run_sync(path.is_file):
            return PlainTextResponse("There is no such object.\n", 404)
        return FileResponse(
            path, filename=grant.filename or path.name, media_type="application/octet-stream", stat_result=path.stat()
        )

    return [Route("/files/{key:path}", get, methods=["GET", "HEAD"])]


class _Body:
    """The body of a request, which knows where it ends: the server never answers a read beyond that."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        # Such a client sends nothing before it is told to go on, and it is told by the first read.
        self._is_awaited = bool(request.headers.get("expect"))
        self._is_ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """What is still to come; ClientDisconnect when it breaks off."""
        self._is_awaited = False
        while not self._is_ended:
            message = await self._receive()
            if message["type"] != "http.request":
                self._is_ended = True
                raise ClientDisconnect
            self._is_ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def drain(self) -> None:
        """Read and throw away what is still to come, within bounds."""
        if self._is_awaited:
            return
        drained = 0
        with suppress(ClientDisconnect), move_on_after(DRAIN_SECONDS):
            async for chunk in self.chunks():
                drained += len(chunk)
                if drained >= DRAIN_BYTES:
                    return


@dataclass
class _Sink:
    """Gathers what arrives into large writes and refuses what is over the limit (0 for none)."""

    draft: Draft
    max_bytes: int
    received: int = 0
    _pending: bytearray = field(default_factory=bytearray)

    async def write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.max_bytes and self.received > self.max_bytes:
            raise TooLargeError(_too_large(self.max_bytes))
        self._pending += chunk
        if len(self._pending) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        pending, self._pending = bytes(self._pending), bytearray()
        await to_thread.run_sync(self.draft.write, pending)


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


async def _receive(request: Request, body: _Body, sink: _Sink) -> None:
    async for chunk in body.chunks():
        await sink.write(chunk)
    await sink.flush()
    expected = request.headers.get("content-length", "")
    if expected.isdecimal() and int(expected) != sink.received:
        raise ClientDisconnect


async def _receive_form(request: Request, body: _Body, storage: Receiver) -> None:
    """Read a form whose last field is the file; what stands before it says what is allowed."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidInputError("Send a multipart/form-data form: the given fields, then the file as the field 'file'.")
    form = _Form()
    sink: _Sink | None = None
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for chunk in body.chunks():
            parser.write(chunk)
            form.check()
            if form.is_file_begun and sink is None:
                grant = _read_grant("POST", form.fields.get("key", ""), form.fields)
                grant.verify(storage.secret, form.fields.get("signature", ""))
                sink = _Sink(storage.draft(grant.key), grant.max_bytes)
            if sink is not None and form.content:
                content, form.content = bytes(form.content), bytearray()
                await sink.write(content)
        if sink is None or not form.is_ended:
            raise InvalidInputError("The form ends before its field 'file' does; send it whole.")
        await sink.flush()
        await to_thread.run_sync(sink.draft.commit)
    except FormParserError as error:
        raise InvalidInputError(f"The form can't be read: {error}.") from error
    finally:
        if sink is not None:
            sink.draft.discard()


class _Form:
    """What the multipart parser has read so far."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.content = bytearray()
        self.is_file_begun = False
        self.is_ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name = ""
        self._value = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def check(self) -> None:
        """Raise InvalidInputError when the fields before the file are larger than any that were given out."""
        size = sum(len(name) + len(value) for name, value in self.fields.items())
        size += len(self._value) + len(self._header_name) + len(self._header_value)
        if size > FIELD_BYTES or len(self.fields) > MOST_FIELDS:
            raise InvalidInputError("The form's fields are larger than any that this server gave out.")

    def _begin(self) -> None:
        self._name = ""
        self._value.clear()

    def _end_header(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        self.is_file_begun = self.is_file_begun or self._name == "file"

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self.content.extend(data[start:end])
        elif not self.is_file_begun:
            self._value.extend(data[start:end])

    def _end(self) -> None:
        if self._name != "file" and not self.is_file_begun:
            self.fields[self._name] = self._value.decode("utf-8", "replace")
        self._value.clear()

    def _finish(self) -> None:
        self.is_ended = True


async def _refuse(body: _Body, error: Exception) -> Response:
    """The answer to a transfer that failed; nothing of it is kept."""
    if isinstance(error, ClientDisconnect):
        return PlainTextResponse("The object did not arrive whole; nothing of it is kept.\n", 400)
    await body.drain()
    if isinstance(error, OSError):
        log.error("transfer_failed", error=str(error))
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return PlainTextResponse("The server's disk is full; nothing was kept. Try again later.\n", 507)
        return PlainTextResponse("The server could not store the object; nothing was kept. Try again.\n", 500)
    message = error.message if isinstance(error, PredictdError) else ""
    kinds = ((ForbiddenTransferError, 403), (TooLargeError, 413), (PlatformError, 503))
    status = next((status for kind, status in kinds if isinstance(error, kind)), 400)
    return PlainTextResponse(f"{message}\n", status, headers={"Connection": "close"})
