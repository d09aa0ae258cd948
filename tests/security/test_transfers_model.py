"""Transfers against a model of what they do: whatever is sent, the store is as the model says and nothing breaks.

A dict is the model: by key, the bytes of the newest transfer that arrived whole and was allowed.
"""

import http.client
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from starlette.applications import Starlette

from predictd.api.transfers import transfer_routes
from predictd.storage import FolderStorage

MOST = 5000
ANSWERS = {200, 204, 206, 400, 403, 404, 405, 409, 413, 416}
BOUNDARY = "----boundary"

keys = st.sampled_from(["a/one", "a/two", "b", "c/d/e.pkl", "c/d"])
bodies = st.one_of(st.binary(max_size=200), st.integers(0, 2 * MOST).map(lambda size: b"x" * size))
# What a client, or somebody who is none, might put in the place of a key, a signature, a range or a header.
odd_keys = st.sampled_from(
    [
        *(
            "",
            ".",
            "..",
            "a/../b",
            "a//one",
            ".secret",
            ".drafts/x",
            "%2e%2e/b",
            "a%00",
            "a%2Fone",
            "x" * 600,
            "y" * 300,
        ),
        *("é", "a/one/", "/etc/passwd", "a/%ff", "c", "\\b", "b;c", "a/one%20"),
    ]
)
odd_texts = st.one_of(
    st.sampled_from(["", "0", "-1", "9" * 30, "9" * 5000, "1e9", "٣", "%ff", "nan", "None", "1_0", "é"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
parameters = st.sampled_from(["expires", "max", "signature"])
ranges = st.one_of(
    st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda ends: f"bytes={ends[0]}-{ends[1]}"),
    st.integers(0, 300).map("bytes={}-".format),
    st.integers(0, 300).map("bytes=-{}".format),
    st.sampled_from(["bytes=", "bytes=-", "lines=0-1", "bytes=0-0,5-6", "bytes=a-b", "0-1", "bytes=0-" + "9" * 40]),
    st.sampled_from(["bytes=" + ",".join(f"{n}-{n}" for n in range(0, 400, 2)), "bytes=5-1", "bytes=--1"]),
)
headers = st.dictionaries(
    st.sampled_from(["x_compute_id", "Content-Type", "Expect", "If-Range", "If-Match", "Accept-Encoding", "Cookie"]),
    st.sampled_from(["7", "text/csv", '"x"', "gzip", "multipart/form-data", "*", "a=b; c"]),
    max_size=2,
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    storage = FolderStorage.open(tmp_path_factory.mktemp("storage"), base_url=address)
    config = uvicorn.Config(Starlette(routes=list(transfer_routes(storage))), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield storage
    server.should_exit = True
    thread.join()


class Transfers(RuleBasedStateMachine):
    storage: FolderStorage

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, bytes] = {}
        for name in ("a", "b", "c"):
            self.storage.delete(name)

    def presigned(self, method: str, key: str, *, late: bool = False, most: int = MOST) -> str:
        expires = datetime.now(UTC) + timedelta(minutes=-1 if late else 10)
        return self.storage.presign(method, key, expires_at=expires, max_bytes=most)

    def send(
        self, method: str, target: str, body: Any = None, given: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer; the connection is this request's alone."""
        parts = urlsplit(self.storage.base_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        connection.putrequest(method, quoted(target), skip_accept_encoding=True)
        for name, value in (given or {}).items():
            connection.putheader(name, value.encode("utf-8"))
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        try:
            connection.endheaders()
            if body:
                connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        assert found[0] in ANSWERS, (method, target[:200], given, found)
        return found

    def fits(self, key: str) -> bool:
        """Whether no object lies where this one needs a folder, or below it."""
        return not any(key.startswith(f"{one}/") or one.startswith(f"{key}/") for one in self.model)

    @rule(key=keys, body=bodies, late=st.booleans(), given=headers)
    def put(self, key: str, body: bytes, late: bool, given: dict[str, str]) -> None:
        given = {name: value for name, value in given.items() if name != "Expect"}
        status, _ = self.send("PUT", path_of(self.presigned("PUT", key, late=late)), body, given)
        expected = 403 if late else 413 if len(body) > MOST else 200 if self.fits(key) else 409
        assert status == expected
        if status == 200:
            self.model[key] = body

    @rule(key=keys, parts=st.lists(st.binary(min_size=1, max_size=3000), max_size=4), whole=st.booleans())
    def put_in_parts(self, key: str, parts: list[bytes], whole: bool) -> None:
        """A body of unknown length, which may break off before its last part."""
        url = urlsplit(self.presigned("PUT", key))
        with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
            sent = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            sent += b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
            connection.sendall(sent + (b"0\r\n\r\n" if whole else b""))
            if not whole:
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        body = b"".join(parts)
        if whole:
            expected = 413 if len(body) > MOST else 200 if self.fits(key) else 409
            assert answer.split()[1] == str(expected).encode()
            if expected == 200:
                self.model[key] = body
        else:
            assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))

    @rule(key=keys, body=st.binary(min_size=1, max_size=3000), missing=st.integers(1, 100))
    def put_that_breaks_off(self, key: str, body: bytes, missing: int) -> None:
        url = urlsplit(self.presigned("PUT", key))
        with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
            head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + missing}\r\n\r\n"
            connection.sendall(head.encode() + body)
            connection.shutdown(socket.SHUT_WR)
            assert not connection.recv(4096).startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))

    @rule(key=keys, body=bodies, late=st.booleans(), forged=st.sampled_from(["", "key", "max", "signature"]))
    def post(self, key: str, body: bytes, late: bool, forged: str) -> None:
        expires = datetime.now(UTC) + timedelta(minutes=-1 if late else 10)
        _, fields = self.storage.presign_post(key, max_bytes=MOST, expires_at=expires)
        if forged:
            fields[forged] = {"key": "a/forged", "max": "999999", "signature": "0" * 64}[forged]
        status, _ = self.send("POST", "/files", form(fields, body), form_header())
        expected = 403 if late or forged else 413 if len(body) > MOST else 204 if self.fits(key) else 409
        assert status == expected
        if status == 204:
            self.model[key] = body

    @rule(
        key=keys, body=st.binary(max_size=300), cut=st.integers(3, 300), header=odd_texts, noise=st.binary(max_size=40)
    )
    def post_that_is_no_form(self, key: str, body: bytes, cut: int, header: str, noise: bytes) -> None:
        _, fields = self.storage.presign_post(key, max_bytes=MOST, expires_at=datetime.now(UTC) + timedelta(minutes=1))
        whole = form(fields, body)
        assert self.send("POST", "/files", whole[:-cut], form_header())[0] in (400, 403)
        assert self.send("POST", "/files", noise, form_header())[0] == 400
        assert self.send("POST", "/files", whole, {"Content-Type": f"multipart/form-data; boundary={header}"})[0] == 400
        assert self.send("POST", "/files", whole, {"Content-Type": header})[0] == 400

    @rule(key=keys, wanted=ranges, given=headers)
    def get(self, key: str, wanted: str, given: dict[str, str]) -> None:
        target = path_of(self.presigned("GET", key))
        content = self.model.get(key)
        status, body = self.send("GET", target)
        assert (status, body if status == 200 else None) == ((404, None) if content is None else (200, content))
        status, body = self.send("GET", target, None, {**given, "Range": wanted})
        if content is None:
            assert status == 404
        elif status == 200:
            assert body == content
        elif status == 206 and b"multipart" not in body[:200] and "," not in wanted:
            assert body == part(content, wanted)
        assert self.send("HEAD", target) == (status_of_head(content), b"")

    @rule(key=keys, method=st.sampled_from(["PUT", "GET"]), odd_key=odd_keys, name=parameters)
    def mangled_keys_and_fields(self, key: str, method: str, odd_key: str, name: str) -> None:
        url = urlsplit(self.presigned(method, key))
        if unquote(odd_key) == key:
            return
        status, _ = self.send(method, f"/files/{odd_key}?{url.query}", b"stolen" if method == "PUT" else None)
        assert status in (403, 404, 405)
        changed = "&".join(one for one in url.query.split("&") if not one.startswith(name))
        assert self.send(method, f"{url.path}?{changed}&{name}=12", b"x" if method == "PUT" else None)[0] == 403

    @rule(
        key=keys,
        method=st.sampled_from(["PUT", "GET", "HEAD"]),
        odd=odd_texts,
        name=parameters,
    )
    def mangled_values(self, key: str, method: str, odd: str, name: str) -> None:
        url = urlsplit(self.presigned("GET" if method == "HEAD" else method, key))
        fields = dict(one.partition("=")[::2] for one in url.query.split("&"))
        if fields[name] == odd:
            return
        query = "&".join(f"{other}={odd if other == name else value}" for other, value in fields.items())
        assert self.send(method, f"{url.path}?{query}", b"x" if method == "PUT" else None)[0] == 403

    @rule(key=keys, method=st.sampled_from(["DELETE", "PATCH", "OPTIONS", "POST", "TRACE", "PROPFIND", "GET", "HEAD"]))
    def another_method(self, key: str, method: str) -> None:
        status, _ = self.send(method, path_of(self.presigned("PUT", key)))
        assert status == (403 if method in ("GET", "HEAD") else 405)

    @invariant()
    def the_store_is_as_the_model_says(self) -> None:
        root = self.storage.root
        deadline = time.monotonic() + 5
        while (drafts := list((root / ".drafts").iterdir())) and time.monotonic() < deadline:
            time.sleep(0.005)  # the server has yet to see that a client is gone
        assert drafts == []
        files = (path for path in root.rglob("*") if path.is_file() and path.name != ".secret")
        assert {str(path.relative_to(root)): path.read_bytes() for path in files} == self.model


def path_of(url: str) -> str:
    return url.split("/", 3)[3].join(["/", ""])


def quoted(target: str) -> str:
    """As a client that sends what it likes would send it; http.client refuses letters that are not ASCII."""
    return "".join(one if 33 <= ord(one) < 127 else "".join(f"%{byte:02x}" for byte in one.encode()) for one in target)


def form_header() -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(fields: dict[str, str], body: bytes) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    parts.append(b'Content-Disposition: form-data; name="file"; filename="p.csv"\r\n\r\n' + body)
    line = f"--{BOUNDARY}".encode()
    return b"".join(line + b"\r\n" + one + b"\r\n" for one in parts) + line + b"--\r\n"


def part(content: bytes, wanted: str) -> bytes:
    """What a single range means."""
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if not first:
        return content[-int(last) :]
    return content[int(first) : int(last) + 1 if last else None]


def status_of_head(content: bytes | None) -> int:
    return 404 if content is None else 200


def test_whatever_is_sent_the_store_is_as_the_model_says(storage: FolderStorage) -> None:
    quick = settings(
        max_examples=int(os.environ.get("TRANSFER_EXAMPLES", "30")),
        stateful_step_count=25,
        deadline=None,
        derandomize="TRANSFER_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failure is short enough as it is
    )
    run_state_machine_as_test(type("Run", (Transfers,), {"storage": storage}), settings=quick)
    assert not Path(storage.root / "a").is_symlink()
