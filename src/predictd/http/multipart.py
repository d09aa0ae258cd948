"""The body of a request as it arrives, and the form with a file that it may hold."""

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
# Threads that write to the disk: however many uploads come at once, they leave those that answer requests alone, and
# what waits for its turn keeps its client waiting, not the memory.
WRITERS = CapacityLimiter(8)
FIELD_BYTES = 16 * 1024
# Parts of a form, whatever their names: each takes a tenth of a millisecond of the event loop.
MOST_FIELDS = 50
# Of parts of the body that hold nothing of the file: fields with all that is around them.
OTHER_BYTES = 256 * 1024
# A client that is refused in the middle of sending sees a broken connection instead of the answer, so what it still
# sends is read and thrown away, within bounds.
DRAIN_BYTES = 256 << 20
DRAIN_SECONDS = 60
# Of a body over the limit of all routes: enough for an honest mistake.
_REFUSED_BYTES = 16 << 20


# A parsed body takes up to thirty times its size, so that only some requests with larger ones are served at once.
SMALL_BYTES = 16 * 1024
LARGE_AT_ONCE = 6


class BodyLimit:
    """ASGI middleware: no route gets more than `max_bytes` of a body, however it arrives and whoever reads it.

    A body is read whole before a route gets it, and at most `LARGE_AT_ONCE` requests with more than `SMALL_BYTES` are
    served at once; the others wait. A request that exceeds the limit gets 413. Only `Body` reads more, as it arrives;
    routes that use it count by themselves.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._large = Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, is_answered, is_read = bytearray(), False, False

        async def whole() -> Message:
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
                await places.enter_async_context(self._large)
            body = bytes(received)
            received.clear()
            return {"type": "http.request", "body": body, "more_body": False}

        async def sent(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        scope[_UNLIMITED] = receive
        try:
            async with AsyncExitStack() as places:
                await self._app(scope, whole, sent)
        except ClientDisconnect:
            # Anybody can break off, so that it is no failure of the server. Nobody reads the response; it is counted.
            if not is_answered:
                await PlainTextResponse("The request body is incomplete. Send it again.\n", 400)(scope, receive, send)
        except TooLargeError as error:
            if is_answered or len(received) <= self._max_bytes:
                raise
            await Body(Request(scope, receive)).drain(_REFUSED_BYTES)
            answer = {"data": None, "errors": [{"message": error.message, "extensions": {"code": error.code}}]}
            await JSONResponse(answer, 413, headers={"Connection": "close"})(scope, receive, send)


class Body:
    """The body of a request, which knows where it ends: the server never answers a read beyond that.

    `BodyLimit` does not hold for it, so whoever reads it must count what arrives.
    """

    def __init__(self, request: Request) -> None:
        self._receive: Receive = request.scope.get(_UNLIMITED, request.receive)
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

    async def drain(self, most_bytes: int = DRAIN_BYTES) -> None:
        """Read and throw away what is still to come, within bounds."""
        if self._is_awaited:
            return
        drained = 0
        with suppress(ClientDisconnect), move_on_after(DRAIN_SECONDS):
            async for chunk in self.chunks():
                drained += len(chunk)
                if drained >= most_bytes:
                    return


class Writable(Protocol):
    """What arrives is written to it."""

    def write(self, content: bytes, /) -> object:
        """Add bytes at the end."""


@dataclass
class Sink:
    """Gathers what arrives into large writes and refuses what is over the limit (0 for none).

    Attributes:
        admit: called in the writing thread before each write, with its size and the size of all that has arrived;
            what it raises refuses the object.
    """

    into: Writable
    max_bytes: int
    admit: Callable[[int, int], None] | None = None
    received: int = 0
    _pending: bytearray = field(default_factory=bytearray)

    async def write(self, chunk: bytes) -> None:
        """Take what arrived; TooLargeError when it is more than may come."""
        self.received += len(chunk)
        if self.max_bytes and self.received > self.max_bytes:
            raise TooLargeError(
                f"The object is larger than the {self.max_bytes} bytes that are allowed. Send a smaller object."
            )
        self._pending += chunk
        if len(self._pending) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what is left."""
        pending, self._pending = bytes(self._pending), bytearray()
        await to_thread.run_sync(self._write, pending, limiter=WRITERS)

    def _write(self, pending: bytes) -> None:
        if self.admit is not None:
            self.admit(len(pending), self.received)
        self.into.write(pending)


class Form:
    """A multipart form whose last field is `file`.

    `fields`, what stands before the file, and `filename` are whole once the first part of the file has arrived.
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
        self._is_file_begun = False
        self._is_ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name = ""
        self._value = bytearray()

    async def file_of(self, body: Body) -> AsyncIterator[bytes]:
        """The content of the file, as it arrives: at least one part, which may be empty.

        Raises:
            InvalidInputError: it is no such form, its fields are too large, or it ends too early.
            ClientDisconnect: it breaks off.
        """
        is_first = True
        try:
            parser = MultipartParser(self._boundary, self._callbacks())
            async for chunk in body.chunks():
                parser.write(chunk)
                self._check(len(chunk))
                if self._is_file_begun and (self._content or is_first):
                    is_first = False
                    content, self._content = bytes(self._content), bytearray()
                    yield content
        except FormParserError as error:
            raise InvalidInputError(f"The form is malformed: {error}. Send a valid multipart body.") from error
        if is_first or not self._is_ended:
            raise InvalidInputError("The form ends before the field 'file' is complete. Send the whole form.")

    def _callbacks(self) -> "MultipartCallbacks":
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

    def _check(self, arrived: int) -> None:
        """Raise InvalidInputError when what is not the file is larger than any fields that were given out."""
        if not self._content:
            self._other_bytes += arrived
        size = sum(len(name) + len(value) for name, value in self.fields.items())
        size += len(self._value) + len(self._header_name) + len(self._header_value)
        if size > FIELD_BYTES or self._other_bytes > OTHER_BYTES:
            raise InvalidInputError("The form fields are too large. Send only the fields that the server returned.")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise InvalidInputError(
                f"The form has more than {MOST_FIELDS} fields. Send the file and the fields that the server returned."
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
        self._is_file_begun = self._is_file_begun or self._name == "file"

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._content.extend(data[start:end])
        elif not self._is_file_begun:
            self._value.extend(data[start:end])

    def _end(self) -> None:
        if self._name != "file" and not self._is_file_begun:
            self.fields[self._name] = self._value.decode("utf-8", "replace")
        self._value.clear()

    def _finish(self) -> None:
        self._is_ended = True
