"""Which server and which token is meant, and who may read it."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import PREDICTD, Server
from predictd.client import Token, find_access
from predictd.client.profiles import Profile, Profiles
from predictd.domain.errors import InvalidInputError, NotFoundError, SetupError

HERE, THERE = "http://127.0.0.1:8000", "https://models.example.org"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TOKEN", "PROFILE", "SERVER"):
        monkeypatch.delenv(f"PREDICTD_{name}", raising=False)
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "predictd" / "config.toml"


def keep(**tokens: str | None) -> None:
    profiles = Profiles.load()
    for name, token in tokens.items():
        server = HERE if name == "here" else THERE
        profiles = profiles.with_profile(Profile(name=name, server=server, token=token))
    profiles.save()


def test_a_token_is_read_as_clients_write_it() -> None:
    assert {Token.parse(text) for text in ("A$B", "Token A$B", "Token Token A$B", " A$B\n")} == {Token("A", "B")}
    assert "B" not in repr(Token("A", "B")).removeprefix("Token")
    for wrong in ("", "A", "A$", "$B", "A B$C"):
        with pytest.raises(InvalidInputError, match=r"PUBLIC_ID\$SECRET_KEY"):
            Token.parse(wrong)


def test_the_nearer_place_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="predictd login"):
        find_access()
    keep(here="kept$1", there="kept$2")
    assert (find_access().server, find_access().token) == (HERE, Token("kept", "1"))
    monkeypatch.setenv("PREDICTD_TOKEN", "environment$4")
    assert find_access().token == Token("environment", "4")
    assert find_access(profile="there").token == Token("kept", "2")
    assert find_access(token="given$5", profile="there").token == Token("given", "5")
    monkeypatch.setenv("PREDICTD_SERVER", THERE + "/")
    assert find_access().server == THERE
    assert find_access(HERE).server == HERE


def test_a_token_that_is_kept_for_one_server_goes_to_no_other() -> None:
    keep(here="kept$1")
    assert find_access(THERE).token is None
    with pytest.raises(InvalidInputError, match="The profile here is for"):
        find_access(THERE, profile="here")
    with pytest.raises(NotFoundError, match="your profiles: here"):
        find_access(profile="nowhere")


def test_a_token_that_others_can_read_is_refused(config: Path) -> None:
    keep(here="kept$1")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    config.chmod(0o644)
    with pytest.raises(SetupError, match=f"chmod 600 {config}"):
        find_access()
    config.chmod(0o600)
    keep(here="env:A_TOKEN")
    config.chmod(0o644)
    with pytest.raises(SetupError, match="A_TOKEN with the token of profile here is not set"):
        find_access()


def test_login_tries_the_token_and_keeps_it(open_server: Server, config: Path, tmp_path: Path) -> None:
    user = open_server.user("login")

    def predictd(*arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        environment = {"XDG_CONFIG_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        command = [PREDICTD, *arguments]
        return subprocess.run(command, input=typed, env=environment, capture_output=True, text=True, check=False)

    wrong = predictd("login", "--server", user.address, typed="A$B\n")
    assert (wrong.returncode, config.exists()) == (1, False)
    assert "Your session is invalid" in wrong.stderr
    done = predictd("login", "--server", user.address, "--profile", "mine", "--no-keyring", typed=f"{user.token}\n")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert user.secret_key not in done.stdout + done.stderr
    assert json.loads(predictd("list", "--json").stdout) == []
    [row] = json.loads(predictd("profile", "list", "--json").stdout)
    assert row == {"name": "mine", "server": user.address, "token": "in the file", "default": True}
    assert predictd("profile", "remove", "mine").returncode == 0
    assert predictd("list").returncode == 1
