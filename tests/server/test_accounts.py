"""What protects an account: its password from guessing, its sign-in from others, its tokens from weaker ones."""

import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from conftest import PREDICTD, GraphQLErrors, Server, User
from predictd.db import Database
from predictd.http.rate_limit import (
    INTERVAL,
    MAX_FAILURES_OF_ACCOUNT,
    MAX_FAILURES_OF_PAIR,
    MAX_SIGN_UPS,
    RateLimiter,
    TooManyAttemptsError,
)

PASSWORD, WRONG = "a good password", "a wrong password"
OWNER, ATTACKER = "198.51.100.1", "203.0.113.9"
LOGIN = 'login(email: "{name}", password: "{password}") {{ token }}'


@pytest.fixture(scope="module")
def proxied(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server behind a proxy, which tells the client's address, and on which anybody may create an account."""
    with make_server(allow_sign_up=True, trusted_proxies="127.0.0.1") as running:
        yield running


def ask(server: Server, document: str, address: str, token: str = "") -> dict[str, Any]:
    """The whole response to a request that the proxy got from that address."""
    headers = {"X-Forwarded-For": address} | ({"Authorization": f"Token {token}"} if token else {})
    response = requests.post(server.address, json={"query": document}, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    return dict(response.json())


def logins(name: str, password: str, count: int) -> str:
    fields = (f"a{number}: {LOGIN.format(name=name, password=password)}" for number in range(count))
    return f"mutation {{ {' '.join(fields)} }}"


def sign_in(server: Server, name: str, address: str, password: str = PASSWORD) -> bool:
    answer = ask(server, logins(name, password, 1), address)
    return bool((answer.get("data") or {}).get("a0"))


def create(server: Server, name: str, address: str, email: str = "") -> dict[str, Any]:
    return ask(server, f"mutation {{ {create_field(name, email)} }}", address)


def create_field(name: str, email: str = "") -> str:
    return f'{name}: createUser(email: "{email}", password: "{PASSWORD}", username: "{name}", captcha: "") {{ id }}'


def accounts(server: Server, prefix: str) -> list[str]:
    listed = json.loads(server.predictd("account", "list", "--json").stdout)
    return [one["username"] for one in listed if one["username"].startswith(prefix)]


def test_wrong_passwords_of_an_attacker_do_not_lock_the_owner_out(proxied: Server) -> None:
    create(proxied, "guessed", OWNER, "guessed@example.org")
    # Some at a time, in one request, by the account's name and by its address.
    for name in ("guessed", "guessed@example.org", "guessed"):
        ask(proxied, logins(name, WRONG, 4), ATTACKER)
    answer = ask(proxied, logins("guessed", PASSWORD, 1), ATTACKER)
    assert answer["errors"][0]["message"].startswith("Too many attempts to sign in. Wait 1 min")
    assert answer["errors"][0]["extensions"]["code"] == "too_many_attempts"
    assert sign_in(proxied, "guessed", OWNER)
    assert sign_in(proxied, "guessed@example.org", OWNER)


def test_a_client_can_not_choose_its_address_behind_a_trusted_proxy(proxied: Server) -> None:
    create(proxied, "spoofed", OWNER)
    codes = []
    for number in range(70):
        # The proxy appends the address that it sees.
        answer = ask(proxied, logins("spoofed", WRONG, 1), f"10.9.{number}.1, 203.0.113.70")
        codes.append(answer["errors"][0]["extensions"]["code"])
    assert codes.count("too_many_attempts") == 70 - MAX_FAILURES_OF_PAIR


@pytest.mark.parametrize("proxies", ["*", "0.0.0.0/0", "::/0", "proxy"])
def test_a_server_that_would_believe_everybody_does_not_start(server: Server, proxies: str) -> None:
    done = serve(server, PREDICTD_TRUSTED_PROXIES=proxies)
    assert done.returncode == 1
    assert "PREDICTD_TRUSTED_PROXIES is invalid" in done.stderr
    assert "your proxies, such as 172.28.0.2" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", "change-me"),
        ("RAY_AUTH_TOKEN", "change-me"),
        ("PREDICTD_METRICS_TOKEN", "change-me"),
        ("PREDICTD_DATABASE_URL", "postgresql+psycopg://predictd:change-me@127.0.0.1:1/predictd"),
    ],
)
def test_a_secret_of_an_example_is_refused(server: Server, tmp_path: Path, name: str, value: str) -> None:
    done = serve(server, **{name: value, "PREDICTD_DATA_DIR": str(tmp_path / "home")})
    assert done.returncode == 1
    assert f"{name} contains 'change-me'" in " ".join(done.stderr.split())


def serve(server: Server, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PREDICTD, "serve", "--port", "0"],
        env=server.environment | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_address_creates_few_accounts_however_it_asks(proxied: Server) -> None:
    for batch in range(14):
        fields = " ".join(create_field(f"bulk{batch}x{number}") for number in range(5))
        answer = ask(proxied, f"mutation {{ {fields} }}", ATTACKER)
    assert answer["errors"][0]["message"].startswith("Too many accounts created from your address. Wait")
    assert len(accounts(proxied, "bulk")) == MAX_SIGN_UPS
    # The page counts the same; what is refused for its input does not count; others go on.
    page = requests.Session()
    page.headers["X-Forwarded-For"] = ATTACKER
    form = page.get(f"{proxied.address}/signup", timeout=60).text
    csrf = form.partition('name="csrf" value="')[2].partition('"')[0]
    sent = {"name": "bulk_page", "email": "", "password": PASSWORD, "csrf": csrf}
    assert page.post(f"{proxied.address}/signup", data=sent, timeout=60).status_code == 429
    for _ in range(MAX_SIGN_UPS + 1):
        assert "errors" in create(proxied, "bulk0x0", "192.0.2.77")
    assert "errors" not in create(proxied, "other_address", "192.0.2.77")


def test_an_address_that_somebody_else_enters_does_not_end_signing_in_by_it(proxied: Server) -> None:
    # The other account is older, and newer.
    create(proxied, "older", "192.0.2.1", "victim@example.org")
    create(proxied, "victim", "192.0.2.2", "victim@example.org")
    create(proxied, "newer", "192.0.2.3", "victim@example.org")
    for name, password in {"older": "older password", "newer": "newer password"}.items():
        subprocess.run(
            [PREDICTD, "account", "password", name],
            input=f"{password}\n",
            env=proxied.environment,
            text=True,
            check=True,
            capture_output=True,
        )
    answer = ask(
        proxied,
        f'mutation {{ login(email: "victim@example.org", password: "{PASSWORD}") {{ username }} }}',
        "192.0.2.2",
    )
    assert answer == {"data": {"login": {"username": "victim"}}}
    assert not sign_in(proxied, "victim@example.org", "192.0.2.2", WRONG)


def test_a_token_lists_and_revokes_none_that_can_do_more(proxied: Server) -> None:
    strong = proxied.user("tokens_owner")
    arguments = ("token", "create", strong.username, "--scope", "read_user_info", "--json")
    made = [json.loads(proxied.predictd(*arguments).stdout) for _ in range(2)]
    weak, other = (User(proxied.address, strong.username, one["public_id"], one["secret_key"]) for one in made)

    def listed(user: User) -> set[str]:
        return {one["publicId"] for one in user.ask("{ account { apiTokens { publicId } } }")["account"]["apiTokens"]}

    revoke = "mutation($t: String!) { revokeApiToken(publicId: $t) { publicId } }"
    assert listed(weak) == {weak.public_id, other.public_id}
    with pytest.raises(GraphQLErrors, match=r"can't revoke 'default', which has scopes that it lacks \(download_sub"):
        weak.ask(revoke, t=strong.public_id)
    assert listed(strong) == {strong.public_id, weak.public_id, other.public_id}
    assert weak.ask(revoke, t=other.public_id)["revokeApiToken"]["publicId"] == other.public_id
    # Whoever knows the password, or has the scopes, manages all.
    assert strong.ask(revoke, t=weak.public_id)["revokeApiToken"]["publicId"] == weak.public_id
    create(proxied, "session_owner", "192.0.2.4")
    owner = proxied.predictd("token", "create", "session_owner", "--json")
    public_id = json.loads(owner.stdout)["public_id"]
    session = ask(proxied, logins("session_owner", PASSWORD, 1), "192.0.2.4")["data"]["a0"]["token"]
    answer = ask(proxied, "{ account { apiTokens { publicId } } }", "192.0.2.4", session)
    assert answer["data"]["account"]["apiTokens"] == [{"publicId": public_id}]
    answer = ask(proxied, f'mutation {{ revokeApiToken(publicId: "{public_id}") {{ name }} }}', "192.0.2.4", session)
    assert "errors" not in answer


def test_a_data_dir_that_is_open_to_others_has_nothing_secret_open(new_server: Callable[..., Server]) -> None:
    server = new_server(database_url="")
    server.user("somebody")
    server.stop()
    server.home.chmod(0o755)
    secret = [server.home / name for name in ("predictd.db", "storage")]
    for path in secret:
        path.chmod(0o755)
    server.start()
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in [*secret, *server.home.glob("predictd.db-*")]}
    assert len(found) >= 3
    assert {mode & 0o077 for mode in found.values()} == {0}, found


@pytest.fixture
def database(database_url: Callable[[], str]) -> Iterator[Database]:
    opened = Database(database_url())
    opened.upgrade()
    yield opened
    opened.close()


def test_guessing_is_slowed_down_and_never_closed(database: Database) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    attempts = RateLimiter(database, lambda: now[0])
    for _ in range(MAX_FAILURES_OF_PAIR):
        attempts.begin("alice", ATTACKER)
    for _ in range(3):
        with pytest.raises(TooManyAttemptsError, match="Wait 1 min"):
            attempts.begin("Alice ", ATTACKER)
        attempts.begin("alice", OWNER)
        attempts.succeed("alice", OWNER)
        # What is refused does not count: the next comes when the interval is over.
        now[0] += INTERVAL
        attempts.begin("alice", ATTACKER)
    now[0] += timedelta(minutes=16)
    for _ in range(MAX_FAILURES_OF_PAIR):
        attempts.begin("alice", ATTACKER)


def test_all_addresses_of_a_network_of_ipv6_are_one(database: Database) -> None:
    attempts = RateLimiter(database)
    for number in range(MAX_FAILURES_OF_PAIR):
        attempts.begin("alice", f"2001:db8:0:1::{number:x}")
    with pytest.raises(TooManyAttemptsError):
        attempts.begin("alice", "2001:db8:0:1:ffff::1")
    attempts.begin("alice", "2001:db8:0:2::1")


def test_an_account_that_many_addresses_guess_at_answers_later_and_still_answers(database: Database) -> None:
    attempts = RateLimiter(database)
    for number in range(MAX_FAILURES_OF_ACCOUNT + 5):
        attempts.begin("alice", f"203.0.113.{number}")
    began = datetime.now(UTC)
    attempts.begin("alice", OWNER)
    assert datetime.now(UTC) - began > timedelta(seconds=0.4)
