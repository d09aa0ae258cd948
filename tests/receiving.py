"""What receives notifications in tests: a mail server and a program with a webhook, both over real connections."""

import base64
import email
import email.policy
import hashlib
import hmac
import json
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

USER, PASSWORD = "predictd", "p@ss word"


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class _Reusing:
    allow_reuse_address = True
    daemon_threads = True


class _MailServer(_Reusing, socketserver.ThreadingTCPServer):
    pass


class _HttpServer(_Reusing, ThreadingHTTPServer):
    pass


@dataclass
class Mailbox:
    """A mail server that keeps what it gets; `refused` are addresses that it knows nobody of."""

    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    port: int = 0
    _server: _MailServer | None = None

    @property
    def url(self) -> str:
        return f"smtp://{USER}:p%40ss%20word@127.0.0.1:{self.port}"

    def start(self) -> "Mailbox":
        mailbox = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mailbox._talk(self)

        self._server = _MailServer(("127.0.0.1", self.port), Conversation)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in list(self.mails) if mail["To"] == address]

    def one(self, address: str, told: str) -> EmailMessage:
        """The one mail to that address that says so, perhaps among other things, once it is there."""
        wait_until(lambda: any(told in text_of(mail) for mail in self.to(address)))
        [found] = [mail for mail in self.to(address) if told in text_of(mail)]
        assert text_of(found).count(told) == 1
        return found

    def _talk(self, line: socketserver.StreamRequestHandler) -> None:
        def say(text: str) -> None:
            line.wfile.write(f"{text}\r\n".encode())

        sender, to, knows = "", "", False
        say("220 mailbox")
        while raw := line.rfile.readline():
            told = raw.decode().strip()
            word = told.upper().partition(" ")[0]
            if word == "EHLO":
                say("250-mailbox\r\n250 AUTH PLAIN")
            elif word == "AUTH":
                knows = base64.b64decode(told.split()[2]).decode() == f"\0{USER}\0{PASSWORD}"
                say("235 welcome" if knows else "535 who are you")
            elif word == "MAIL" and knows:
                sender = told.partition("<")[2].partition(">")[0]
                say("250 ok")
            elif word == "RCPT" and knows:
                to = told.partition("<")[2].partition(">")[0]
                say("550 nobody of that name" if to in self.refused else "250 ok")
            elif word == "DATA":
                say("354 go on")
                lines = iter(line.rfile.readline, b".\r\n")
                content = b"".join(one[1:] if one.startswith(b".") else one for one in lines)
                self.envelopes.append((sender, to))
                self.mails.append(email.message_from_bytes(content, policy=email.policy.default))  # type: ignore[arg-type]
                say("250 kept")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok" if word in {"RSET", "NOOP"} else "503 no")


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def link_in(mail: EmailMessage, path: str) -> str:
    found = re.search(rf"https?://\S*/{path}/\S+", text_of(mail))
    assert found is not None, text_of(mail)
    return found[0]


@dataclass
class Hook:
    """A program with a webhook; it checks each signature by itself. `answers` is the status, `holds` makes it slow."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    secret: str = ""
    answers: int = 200
    holds: threading.Event = field(default_factory=threading.Event)
    arrived: int = 0
    forged: int = 0
    port: int = 0
    _server: _HttpServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?from=predictd"

    @property
    def types(self) -> list[str]:
        return [str(content["type"]) for _, content in list(self.calls)]

    def of_type(self, wanted: str) -> list[dict[str, Any]]:
        return [content["data"] for _, content in list(self.calls) if content["type"] == wanted]

    def start(self) -> "Hook":
        hook = self

        class Call(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook._take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _HttpServer(("127.0.0.1", self.port), Call)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _take(self, call: BaseHTTPRequestHandler) -> None:
        body = call.rfile.read(int(call.headers["content-length"]))
        self.arrived += 1
        message_id, at = call.headers["webhook-id"], call.headers["webhook-timestamp"]
        # As standardwebhooks.com has it.
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        good = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        if (
            call.headers["webhook-signature"] != f"v1,{base64.b64encode(good).decode()}"
            or abs(time.time() - int(at)) > 60
        ):
            self.forged += 1
        while self.holds.is_set():
            time.sleep(0.02)
        if self.answers == 200:
            self.calls.append((message_id, json.loads(body)))
        call.send_response(self.answers)
        call.send_header("Content-Length", "0")
        call.end_headers()


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    running = Mailbox().start()
    yield running
    running.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    running = Hook().start()
    yield running
    running.holds.clear()
    running.stop()
