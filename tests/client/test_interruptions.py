"""What is lost on the way is taken up again, and nothing is done twice: a server behind a proxy that loses things."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_proxy import CUT, HALF, LOSE, Proxy, proxy_of
from conftest import Server, User
from predictd import Client
from predictd.client import TransferError, UnansweredError
from predictd.domain.errors import ConflictError, MissingScopeError, NotAuthenticatedError, NotFoundError


@pytest.fixture(scope="module")
def alice(open_server: Server) -> User:
    return open_server.user("cut_off")


@pytest.fixture
def proxy(open_server: Server) -> Iterator[Proxy]:
    with proxy_of(open_server.address) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy, alice: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Client(proxy.address, alice.token)


@pytest.fixture
def file(pickles: dict[str, bytes], tmp_path: Path) -> Path:
    """A good model with some weight, so that a transfer can be cut in the middle."""
    path = tmp_path / "model.pkl"
    path.write_bytes(pickles["one_argument"] + os.urandom(400_000))
    return path


def test_an_upload_that_is_cut_begins_anew_with_a_new_url(client: Client, proxy: Proxy, file: Path) -> None:
    proxy.faults = [("PUT", CUT), ("PUT", 503)]
    pickle = client.upload(file)
    assert proxy.count("PUT") == proxy.count("computePickleUploadAuth") == 3
    assert proxy.count("createComputePickleUpload") == 1
    assert client.wait(pickle.id).pickle.is_validated


def test_a_registration_whose_answer_is_lost_is_not_made_twice(client: Client, proxy: Proxy, file: Path) -> None:
    before = len(client.pickles())
    proxy.faults = [("createComputePickleUpload", LOSE)]
    client.upload(file)
    assert proxy.count("createComputePickleUpload") == 1
    assert len(client.pickles()) == before + 1


def test_what_has_arrived_is_registered_by_the_next_attempt(client: Client, proxy: Proxy, file: Path) -> None:
    proxy.faults = [("createComputePickleUpload", 502)] * 3
    with pytest.raises(UnansweredError, match="may have been made or not"):
        client.upload(file)
    assert (proxy.count("PUT"), proxy.count("createComputePickleUpload")) == (1, 3)
    pickle = client.upload(file)
    assert (proxy.count("PUT"), proxy.count("createComputePickleUpload")) == (1, 4)
    # Once it is registered, the same file is another upload.
    assert client.upload(file).id != pickle.id
    assert proxy.count("PUT") == 2


def test_a_run_is_never_sent_twice_and_a_query_is(client: Client, proxy: Proxy, file: Path) -> None:
    pickle = client.upload(file)
    client.wait(pickle.id)
    proxy.faults = [("triggerComputePickleUpload", LOSE), ("query", 503), ("query", LOSE)]
    with pytest.raises(UnansweredError):
        client.run_now(pickle.id)
    assert len(client.status(pickle.id).runs) == 2
    assert proxy.count("triggerComputePickleUpload") == 1


def test_a_model_is_made_once_though_the_answer_is_lost(client: Client, proxy: Proxy) -> None:
    proxy.faults = [("addModel", LOSE)]
    assert client.create_model("made_once").name == "made_once"
    assert proxy.count("addModel") == 1
    with pytest.raises(ConflictError, match="taken"):
        client.create_model("made_once")


def test_a_download_goes_on_where_it_broke_off(client: Client, proxy: Proxy, file: Path, tmp_path: Path) -> None:
    client.create_model("has_a_download")
    pickle = client.upload(file, model="has_a_download")
    proxy.faults = [("GET", HALF)]
    saved = client.download(pickle.id, tmp_path / "back.pkl")
    assert saved.read_bytes() == file.read_bytes()
    ranges = [one.headers.get("Range") for one in proxy.seen if one.what == "GET"]
    assert ranges[:2] == [None, None]
    arrived = int(str(ranges[2]).removeprefix("bytes=").removesuffix("-"))
    assert 0.4 < arrived / file.stat().st_size < 0.6
    assert [one.name for one in tmp_path.glob(".*.partial")] == []


def test_transfers_carry_no_token(client: Client, proxy: Proxy, file: Path, tmp_path: Path, alice: User) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password something\n")
    client.create_model("no_token")
    client.download(client.upload(file, model="no_token").id, tmp_path / "back.pkl")
    transfers = [one for one in proxy.seen if one.what in ("PUT", "GET")]
    assert len(transfers) == 2
    assert not [one for one in transfers if "Authorization" in one.headers]
    assert not [one for one in transfers if alice.secret_key in str(one.headers)]


def test_a_server_that_sends_on_gets_no_token_there(client: Client, proxy: Proxy) -> None:
    proxy.faults = [("query", 307)]
    with pytest.raises(TransferError):
        client.models()
    assert proxy.count("query") == 1


def test_each_kind_of_refusal_is_an_error_of_its_own(client: Client, proxy: Proxy, open_server: Server) -> None:
    with pytest.raises(NotFoundError, match="Your models:"):
        client.model("nobody")
    with pytest.raises(NotAuthenticatedError, match="predictd login"):
        Client(proxy.address, "wrong$token").models()
    account = open_server.user("few_scopes")
    made = open_server.predictd("token", "create", account.username, "--scope", "read_submission_info", "--json")
    with pytest.raises(MissingScopeError, match="upload_submission"):
        Client(proxy.address, token_of(made.stdout)).create_model("refused")


def token_of(text: str) -> str:
    made = json.loads(text)
    return f"{made['public_id']}${made['secret_key']}"
