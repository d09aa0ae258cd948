"""Request bodies as they arrive, their size limits, and multipart forms with a file."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from anyio import CapacityLimiter, Semaphore, move_on_after, to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictd.domain.errors import InvalidInputError, TooLargeError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_UNLIMITED = "predictd.unlimited_receive"
WRITE_BYTES = 1 << 20
# Threads that write to the disk, so that uploads never take the threads of other requests; a waiting upload holds up
# its client and takes no memory.
WRITERS = CapacityLimiter(8)
MAX_FIELD_BYTES = 16 * 1024
# Parts of a form, whatever their names: each takes a tenth of a millisecond of the event loop.
MAX_FIELDS = 50
# Of the body without the file: the fields and everything around them.
MAX_OTHER_BYTES = 256 * 1024
# A client that still sends sees a broken connection instead of the error response, so the rest is read and discarded.
MAX_DRAIN_BYTES = 256 << 20
MAX_DRAIN_SECONDS = 60
# For a body above the limit of all routes.
_MAX_DRAIN_BYTES_OF_REFUSED = 16 << 20


# A parsed body takes up to thirty times its size, so only a few requests with large bodies run at once.
SMALL_BYTES = 16 * 1024
MAX_CONCURRENT_LARGE = 6


class BodyLimitMiddleware:
    """ASGI middleware that limits request bodies to `max_bytes`.

    A body is read completely before its route runs, and at most `MAX_CONCURRENT_LARGE` requests with more than
    `SMALL_BYTES` run at once; the others wait. A request above the limit gets 413. Routes that read with `Body` are
    exempt and have limits of their own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._large = Semaphore(MAX_CONCURRENT_LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, is_response_started, is_read = bytearray(), False, False

        async def receive_body() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                received.extend(message.get("body", b""))
                if len(received) > self._max_bytes:
                    raise TooLargeError(f"The request is larger than {self._max_bytes} bytes. Send a smaller request.")
                more = message.get("more_body", False)
            if len(received) > SMALL_BYTES:
                await stack.enter_async_context(self._large)
            body = bytes(received)
            received.clear()
            return {"type": "http.request", "body": body, "more_body": False}

        async def track_send(message: Message) -> None:
            nonlocal is_response_started
            is_response_started = True
            await send(message)

        scope[_UNLIMITED] = receive
        try:
            async with AsyncExitStack() as stack:
                await self._app(scope, receive_body, track_send)
        except ClientDisconnect:
            # A disconnect is not an error of the server. Nobody reads the response, but it is counted.
            if not is_response_started:
                await PlainTextResponse("The request body is incomplete. Send it again.\n", 400)(scope, receive, send)
        except TooLargeError as error:
            if is_response_started or len(received) <= self._max_bytes:
                raise
            await Body(Request(scope, receive)).drain(_MAX_DRAIN_BYTES_OF_REFUSED)
            content = {"data": None, "errors": [{"message": error.message, "extensions": {"code": error.code}}]}
            await JSONResponse(content, 413, headers={"Connection": "close"})(scope, receive, send)


class Body:
    """The body of a request, as it arrives.

    It is exempt from `BodyLimitMiddleware`, so its reader must limit it.
    """

    def __init__(self, request: Request) -> None:
        self._receive: Receive = request.scope.get(_UNLIMITED, request.receive)
        # The client waits for 100 Continue, which the first read sends.
        self._expects_continue = bool(request.headers.get("expect"))
        self._is_ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the rest of the body; raise ClientDisconnect if the client disconnects."""
        self._expects_continue = False
        while not self._is_ended:
            message = await self._receive()
            if message["type"] != "http.request":
                self._is_ended = True
                raise ClientDisconnect
            self._is_ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def drain(self, max_bytes: int = MAX_DRAIN_BYTES) -> None:
        """Read and discard the rest of the body, up to `max_bytes`."""
        if self._expects_continue:
            return
        drained = 0
        with suppress(ClientDisconnect), move_on_after(MAX_DRAIN_SECONDS):
            async for chunk in self.chunks():
                drained += len(chunk)
                if drained >= max_bytes:
                    return


class Writable(Protocol):
    """A file or draft that bytes are appended to."""

    def write(self, content: bytes, /) -> object:
        """Append bytes."""


@dataclass
class BufferedWriter:
    """Writes arriving bytes in large chunks, up to `max_bytes` (0 for no limit).

    Attributes:
        admit: called in the writing thread before each write, with the size of the write and of everything received;
            it raises to reject the object.
    """

    target: Writable
    max_bytes: int
    admit: Callable[[int, int], None] | None = None
    received: int = 0
    _pending: bytearray = field(default_factory=bytearray)

    async def write(self, chunk: bytes) -> None:
        """Add bytes; raise TooLargeError above the limit."""
        self.received += len(chunk)
        if self.max_bytes and self.received > self.max_bytes:
            raise TooLargeError(
                f"The object is larger than the {self.max_bytes} bytes that are allowed. Send a smaller object."
            )
        self._pending += chunk
        if len(self._pending) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write the buffered bytes."""
        pending, self._pending = bytes(self._pending), bytearray()
        await to_thread.run_sync(self._write, pending, limiter=WRITERS)

    def _write(self, pending: bytes) -> None:
        if self.admit is not None:
            self.admit(len(pending), self.received)
        self.target.write(pending)


class FileForm:
    """A multipart form whose last field is `file`.

    `fields`, the fields before the file, and `filename` are complete when the first chunk of the file is yielded.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidInputError(
                "Send a multipart/form-data form: the returned fields, then the file as the field 'file'."
            )
        self._boundary = options[b"boundary"]
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._content = bytearray()
        self._other_bytes = 0
        self._parts = 0
        self._is_file_started = False
        self._is_ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name = ""
        self._value = bytearray()

    async def file_chunks(self, body: Body) -> AsyncIterator[bytes]:
        """Yield the content of the file as it arrives: at least one chunk, which may be empty.

        Raises:
            InvalidInputError: the form is malformed, its fields are too large, or it ends too early.
            ClientDisconnect: the client disconnects.
        """
        is_first = True
        try:
            parser = MultipartParser(self._boundary, self._callbacks())
            async for chunk in body.chunks():
                parser.write(chunk)
                self._check_fields(len(chunk))
                if self._is_file_started and (self._content or is_first):
                    is_first = False
                    content, self._content = bytes(self._content), bytearray()
                    yield content
        except FormParserError as error:
            raise InvalidInputError(f"The form is malformed: {error}. Send a valid multipart body.") from error
        if is_first or not self._is_ended:
            raise InvalidInputError("The form ends before the field 'file' is complete. Send the whole form.")

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._append_data,
            "on_part_end": self._end_part,
            "on_end": self._end_form,
        }

    def _check_fields(self, received_bytes: int) -> None:
        """Raise InvalidInputError if the body without the file is too large."""
        if not self._content:
            self._other_bytes += received_bytes
        size = sum(len(name) + len(value) for name, value in self.fields.items())
        size += len(self._value) + len(self._header_name) + len(self._header_value)
        if size > MAX_FIELD_BYTES or self._other_bytes > MAX_OTHER_BYTES:
            raise InvalidInputError("The form fields are too large. Send only the fields that the server returned.")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise InvalidInputError(
                f"The form has more than {MAX_FIELDS} fields. Send the file and the fields that the server returned."
            )
        self._name = ""
        self._value.clear()

    def _end_header(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if self._name == "file":
                self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        self._is_file_started = self._is_file_started or self._name == "file"

    def _append_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._content.extend(data[start:end])
        elif not self._is_file_started:
            self._value.extend(data[start:end])

    def _end_part(self) -> None:
        if self._name != "file" and not self._is_file_started:
            self.fields[self._name] = self._value.decode("utf-8", "replace")
        self._value.clear()

    def _end_form(self) -> None:
        self._is_ended = True
