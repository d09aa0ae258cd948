"""Which credentials leave this machine: recorded by real servers that commands and the client are pointed at."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import PREDICTD
from predictd.client import Token, find_access
from predictd.client.transfer import download
from predictd.local_run.one_run import Post

SECRETS = {"NUMERAI_PUBLIC_ID": "NUMERAI", "NUMERAI_SECRET_KEY": "SECRET"}


@dataclass
class Recorder:
    """A server that records the header Authorization of each request, and redirects where `location` says."""

    sent: list[str | None] = field(default_factory=list)
    location: str = ""
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def new_recorder() -> Iterator[Callable[[], Recorder]]:
    with ExitStack() as running:

        def start() -> Recorder:
            recorder = Recorder()

            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers.get("content-length") or 0))
                    self.do_GET()

                def do_GET(self) -> None:
                    recorder.sent.append(self.headers.get("authorization"))
                    body = json.dumps({"data": {"account": {"models": []}, "computePickles": []}}).encode()
                    self.send_response(302 if recorder.location else 200)
                    if recorder.location:
                        self.send_header("Location", recorder.location)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_: object) -> None:
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            recorder.port = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            running.callback(server.server_close)
            running.callback(server.shutdown)
            return recorder

        yield start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose .netrc has credentials for this machine, and an environment with those of numerapi."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login netrc password NETRC\nmachine localhost login netrc password NETRC\n")
    netrc.chmod(0o600)
    for name in ("PREDICTD_TOKEN", "PREDICTD_PROFILE", "PREDICTD_SERVER", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def predictd(home: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PREDICTD, *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **SECRETS, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_numerais_credentials_go_to_no_other_server(home: Path, new_recorder: Callable[[], Recorder]) -> None:
    recorder = new_recorder()
    predictd(home, "list", "--models", "--json", "--server", recorder.address)
    assert recorder.sent
    assert set(recorder.sent) == {None}
    # By explicit choice they do.
    recorder.sent.clear()
    predictd(home, "list", "--models", "--json", "--server", recorder.address, PREDICTD_TOKEN="NUMERAI$SECRET")
    assert set(recorder.sent) == {"Token NUMERAI$SECRET"}


@pytest.mark.parametrize(
    ("server", "is_numerai"),
    [
        ("https://api-tournament.numer.ai", True),
        ("https://API-TOURNAMENT.NUMER.AI/", True),
        ("https://numer.ai", True),
        ("http://api-tournament.numer.ai", False),
        ("https://numer.ai.example.org", False),
        ("https://evilnumer.ai", False),
        ("https://example.org/numer.ai", False),
        ("https://127.0.0.1", False),
    ],
)
def test_numerais_credentials_are_for_its_hosts_over_https(home: Path, server: str, is_numerai: bool) -> None:
    assert find_access(server).token == (Token("NUMERAI", "SECRET") if is_numerai else None)


def test_a_profiles_own_token_comes_before_the_environment_of_numerapi(
    home: Path, new_recorder: Callable[[], Recorder]
) -> None:
    recorder = new_recorder()
    config = home / ".config" / "predictd" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[profiles.here]\nserver = "{recorder.address}"\ntoken = "own$1"\n')
    config.chmod(0o600)
    predictd(home, "list", "--models", "--json", "--server", recorder.address)
    assert set(recorder.sent) == {"Token own$1"}
    assert find_access("https://api-tournament.numer.ai").token == Token("NUMERAI", "SECRET")


def test_the_token_of_one_server_in_the_environment_goes_to_no_other(
    home: Path, new_recorder: Callable[[], Recorder]
) -> None:
    own, other = new_recorder(), new_recorder()
    environment = {"PREDICTD_SERVER": own.address, "PREDICTD_TOKEN": "own$1"}
    predictd(home, "list", "--models", "--json", **environment)
    predictd(home, "list", "--models", "--json", "--server", other.address, **environment)
    assert set(own.sent) == {"Token own$1"}
    assert set(other.sent) == {None}


def test_transfers_and_redirects_carry_no_credentials_of_a_netrc_file(
    home: Path, new_recorder: Callable[[], Recorder], tmp_path: Path
) -> None:
    first, second = new_recorder(), new_recorder()
    file = tmp_path / "file"
    download(f"{first.address}/presigned", file, lambda *_: None)
    Post(url=f"{first.address}/presigned", fields=()).send(file)
    assert first.sent == [None, None]
    # A URL's own credentials are meant for its host alone.
    first.location = f"http://localhost:{second.port}/elsewhere"
    download(f"http://me:mine@127.0.0.1:{first.port}/presigned", file, lambda *_: None)
    assert first.sent[2] == "Basic bWU6bWluZQ=="
    assert second.sent == [None]
