"""A server in front of a server, which loses what it is told to lose."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CUT = "cut the request"
LOSE = "lose the answer"
HALF = "cut the answer in half"


@dataclass
class Seen:
    """One request: `what` is the root field of GraphQL, or the method of a transfer."""

    what: str
    headers: dict[str, str]


@dataclass
class Proxy:
    """`faults` are taken up in order, each for the next request of its kind: CUT, LOSE, HALF, or a status."""

    address: str = ""
    faults: list[tuple[str, str | int]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def count(self, what: str) -> int:
        return sum(one.what == what for one in self.seen)

    def fault(self, what: str) -> str | int | None:
        for fault in self.faults:
            if fault[0] == what:
                self.faults.remove(fault)
                return fault[1]
        return None


FIELDS = ("createComputePickleUpload", "triggerComputePickleUpload", "addModel", "computePickleUploadAuth")


@contextmanager
def proxy_of(address: str) -> Iterator[Proxy]:
    proxy = Proxy()
    target = urlsplit(address).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            is_graphql = self.command == "POST"
            body = self.rfile.read(length) if is_graphql else b""
            query = json.loads(body)["query"] if is_graphql else ""
            what = next((one for one in FIELDS if one in query), "query") if is_graphql else self.command
            proxy.seen.append(Seen(what, dict(self.headers)))
            fault = proxy.fault(what)
            if fault == CUT:
                self.rfile.read(length // 2)
                self.hang_up()
                return
            if isinstance(fault, int):
                self.answer(fault, b"a bad moment", {})
                return
            status, content, headers = forward(self, body or self.rfile.read(length))
            if fault == LOSE:
                self.hang_up()
                return
            self.answer(status, content, headers, half=fault == HALF)

        do_GET = do_PUT = do_POST = handle_any

        def answer(self, status: int, content: bytes, headers: dict[str, str], *, half: bool = False) -> None:
            self.send_response(status)
            for name in ("Content-Type", "ETag", "Content-Range", "Location"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)
            if half:
                self.hang_up()

        def hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    def forward(handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        connection = HTTPConnection(target, timeout=60)
        # With the proxy's own host, so that the presigned URLs lead through it too.
        connection.request(handler.command, handler.path, body, {**handler.headers, "Connection": "close"})
        answer = connection.getresponse()
        return (
            answer.status,
            answer.read(),
            {name.title(): value for name, value in answer.getheaders()} | {"ETag": answer.getheader("ETag", "")},
        )

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        proxy.address = f"http://127.0.0.1:{http.server_address[1]}"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield proxy
        http.shutdown()
