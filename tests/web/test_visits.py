"""The pages over HTTP: who may see and send what, and what stands between a model's output and a browser."""

import re
import subprocess
from collections.abc import Callable

import pytest
import requests

from browsing import PASSWORD, Visitor, make_account
from conftest import PREDICTD, GraphQLErrors, Server, User


def test_whoever_is_not_signed_in_is_sent_to_sign_in_and_back(visitor: Visitor, name: str) -> None:
    answer = visitor.get("/models")
    assert answer.url.endswith("/signin?next=%2Fmodels")
    answer = visitor.send("/signin", answer.url.removeprefix(visitor.address), name=name, password=PASSWORD)
    assert answer.url.endswith("/models")
    assert name in answer.text
    elsewhere = Visitor(visitor.address).send("/signin", "/signin?next=//evil.example", name=name, password=PASSWORD)
    assert elsewhere.url == f"{visitor.address}/models"


def test_a_browser_is_led_to_the_pages_and_a_script_reads_what_the_server_is(server: Server) -> None:
    browser = requests.get(server.address, headers={"Accept": "text/html,*/*"}, timeout=10, allow_redirects=False)
    assert (browser.status_code, browser.headers["location"]) == (303, "/models")
    assert requests.get(server.address, timeout=10).text.startswith("predictd ")


def test_the_session_is_a_cookie_that_no_script_reads_and_ends_when_one_signs_out(visitor: Visitor, name: str) -> None:
    visitor.sign_in(name)
    cookie = next(one for one in visitor.client.cookies if one.name == "predictd_session")
    assert "HttpOnly" in cookie._rest
    assert cookie._rest["SameSite"].lower() == "lax"
    kept = cookie.value
    visitor.send("/signout", "/models")
    after = requests.get(
        f"{visitor.address}/models", cookies={"predictd_session": str(kept)}, timeout=10, allow_redirects=False
    )
    assert after.headers["location"].startswith("/signin")


def test_a_form_that_this_page_did_not_make_is_refused(visitor: Visitor, name: str) -> None:
    visitor.sign_in(name)
    for csrf in ("", "0" * 64, Visitor(visitor.address).csrf("/signin")):
        answer = visitor.client.post(f"{visitor.address}/models", data={"name": "forged", "csrf": csrf}, timeout=10)
        assert answer.status_code == 403
    assert "forged" not in visitor.get("/models").text
    assert visitor.send("/models", "/models", name="honest").url.endswith("/upload")


def test_a_wrong_password_and_an_unknown_name_are_answered_alike_and_not_for_ever(
    visitor: Visitor, server: Server, name: str
) -> None:
    def refusal(of: str, password: str) -> str:
        text = visitor.sign_in(of, password).text
        return text[text.index('role="alert">') : text.index("</p>", text.index('role="alert">'))]

    assert refusal(name, "not the password") == refusal("nobody_of_that_name", "not the password")
    server.user("only_tokens")
    assert refusal("only_tokens", "") == refusal(name, "not the password")
    for _ in range(8):
        visitor.sign_in(name, "not the password")
    answer = visitor.sign_in(name)
    assert answer.status_code == 429
    assert "Too many attempts" in answer.text


def test_objects_of_another_account_are_as_unknown_as_none(
    visitor: Visitor, server: Server, user: User, name: str, pickles: dict[str, bytes]
) -> None:
    model = user.add_model(f"m{abs(hash(name)) % 10**10}")
    run = user.pickle(user.upload(pickles["good"], model))["triggers"][0]["id"]
    visitor.sign_in(name)
    for path in (f"/models/{model}", f"/models/{model}/upload", f"/runs/{run}", f"/runs/{run}/log", "/models/none"):
        assert visitor.get(path).status_code == 404, path
    assert visitor.send(f"/models/{model}/archive", "/models").status_code == 404
    assert visitor.send(f"/runs/{run}/rerun", "/models").status_code == 404


def test_a_file_is_taken_of_whom_it_may_come_from_and_kept_until_it_is_run_or_discarded(
    visitor: Visitor, server: Server, user: User, name: str, pickles: dict[str, bytes]
) -> None:
    def send(to: str, csrf: str, content: bytes = pickles["good"], filename: str = "model.pkl") -> requests.Response:
        return visitor.client.post(
            f"{visitor.address}{to}", data={"csrf": csrf}, files={"file": (filename, content)}, timeout=30
        )

    elsewhere = f"/models/{user.add_model(f'e{abs(hash(name)) % 10**10}')}/upload"
    assert send(elsewhere, "").url.endswith("/signin?next=%2Fmodels")
    visitor.sign_in(name)
    made = visitor.send("/models", "/models", name=f"f{abs(hash(name)) % 10**10}").url.removeprefix(visitor.address)
    csrf = visitor.csrf(made)
    assert send(made, "0" * 64).status_code == 403
    assert send(elsewhere, csrf).status_code == 404
    refused = send(made, csrf, filename="model.csv")
    assert (refused.status_code, "it must end in .pkl" in refused.text) == (400, True)

    check = send(made, csrf).url.removeprefix(visitor.address)
    assert "No problems found" in visitor.get(check).text
    other = Visitor(visitor.address)
    make_account(server, f"{name[:30]}_other")
    other.sign_in(f"{name[:30]}_other")
    assert other.get(check).status_code == 404
    for step in ("run", "discard"):
        assert other.send(f"{check}/{step}", "/models").status_code == 404
    assert "has already been registered" not in visitor.get(check).text
    assert "/runs/" in visitor.send(f"{check}/run", check).url
    again = visitor.send(f"{check}/run", made)
    assert (again.status_code, "is already registered" in again.text) == (409, True)
    assert visitor.send(f"{check}/discard", made).status_code == 404


def test_a_form_with_too_large_a_file_is_answered_with_the_page_that_says_so(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(max_pickle_mb=1)
    make_account(server, "small")
    visitor = Visitor(server.address)
    visitor.sign_in("small")
    to = visitor.send("/models", "/models", name="small").url.removeprefix(server.address)
    for size in (2 << 20, (1 << 20) + 1):  # told by the length of the form, and only by its file
        sent = {"file": ("model.pkl", b"\0" * size)}
        answer = visitor.client.post(f"{server.address}{to}", data={"csrf": visitor.csrf(to)}, files=sent, timeout=30)
        assert (answer.status_code, "1048576 bytes" in answer.text) == (413, True)
        assert "Upload a pickle for small" in answer.text
    assert not list(server.home.glob("receiving-*"))
    assert not list((server.home / "storage" / "incoming").rglob("*.pkl"))


def test_every_page_has_the_headers_that_bind_a_browser(visitor: Visitor, name: str) -> None:
    visitor.sign_in(name)
    for path in ("/signin", "/models", "/leaderboard", "/rounds", "/account", "/assets/site.js", "/models/none"):
        headers = visitor.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    for path in ("/models", "/account"):
        text = visitor.get(path).text
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", text)
        assert visitor.get(path).headers["cache-control"] == "no-store"


def test_the_first_load_is_light(visitor: Visitor, name: str) -> None:
    page = visitor.sign_in(name)
    assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
    assert len(page.content) + sum(len(visitor.get(one).content) for one in assets) < 300_000
    assert all("immutable" in visitor.get(one).headers["cache-control"] for one in assets)


def test_accounts_are_made_on_the_page_only_where_the_server_allows_it(
    visitor: Visitor, new_server: Callable[..., Server]
) -> None:
    assert visitor.get("/signup").status_code == 404
    server = new_server(allow_sign_up=True, trusted_proxies="127.0.0.1")
    open_to_all = Visitor(server.address)
    answer = open_to_all.send("/signup", "/signup", name="new_here", email="", password="short")
    assert (answer.status_code, "10 to 200" in answer.text) == (400, True)
    answer = open_to_all.send("/signup", "/signup", name="new_here", email="", password=PASSWORD)
    assert answer.url.endswith("/models")
    assert "Create your first model" in answer.text
    # Under https the cookies never go over http.
    proxied = requests.get(f"{server.address}/signin", headers={"X-Forwarded-Proto": "https"}, timeout=10)
    assert "Secure" in proxied.headers["set-cookie"]
    assert "Secure" not in requests.get(f"{server.address}/signin", timeout=10).headers["set-cookie"]


def test_the_api_takes_the_password_too(server: Server, name: str) -> None:
    nobody = User(server.address, "", "NONE", "NONE")
    login = "mutation($n: String!, $p: String!) { login(email: $n, password: $p) { token username } }"
    with pytest.raises(GraphQLErrors, match="name or password is incorrect"):
        nobody.ask(login, n=name, p="not the password")
    token = nobody.ask(login, n=name, p=PASSWORD)["login"]["token"]

    def ask(query: str) -> dict[str, object]:
        headers = {"Authorization": f"Token {token}"}
        return dict(requests.post(server.address, json={"query": query}, headers=headers, timeout=10).json())

    assert ask("{ account { username } }") == {"data": {"account": {"username": name}}}
    asked = f'name: "n", password: "{PASSWORD}", scopes: ["read_user_info"]'
    make = f"mutation {{ createApiToken({asked}) {{ publicId secretKey }} }}"
    made = ask(make)["data"]["createApiToken"]  # type: ignore[index]
    reader = User(server.address, name, made["publicId"], made["secretKey"])
    assert reader.ask("{ account { username } }")["account"]["username"] == name
    ask("mutation { logout }")
    assert "errors" in ask("{ account { username } }")


def test_a_new_password_ends_the_sessions_of_the_old_one(visitor: Visitor, server: Server, name: str) -> None:
    visitor.sign_in(name)
    subprocess.run(
        [PREDICTD, "account", "password", name],
        input="another password\n",
        env=server.environment,
        text=True,
        check=True,
        capture_output=True,
    )
    assert "/signin" in visitor.get("/models").url
    assert visitor.sign_in(name, "another password").url.endswith("/models")
    refused = subprocess.run(
        [PREDICTD, "account", "password", name],
        input="short\n",
        env=server.environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert refused.returncode == 1
    with pytest.raises(subprocess.CalledProcessError):
        make_account(server, name)


def test_a_model_is_renamed_archived_and_used_again(visitor: Visitor, name: str) -> None:
    visitor.sign_in(name)
    old, new = f"o{abs(hash(name)) % 10**12}", f"n{abs(hash(name)) % 10**12}"
    model = visitor.send("/models", "/models", name=old).url.removesuffix("/upload").removeprefix(visitor.address)
    taken = visitor.send("/models", "/models", name=old.upper())
    assert (taken.status_code, "is already taken" in taken.text) == (409, True)
    assert "Model renamed." in visitor.send(f"{model}/rename", model, name=new).text
    assert "enter an absolute http or https URL" in visitor.send(f"{model}/webhook", model, url="javascript:1").text
    visitor.send(f"{model}/archive", model)
    assert new not in visitor.get("/models").text
    assert new in visitor.get("/models?archived=yes").text
    visitor.send(f"{model}/unarchive", model)
    assert new in visitor.get(f"/models?q={new[:6].upper()}").text
    assert "No models match" in visitor.get("/models?q=none_of_that_name").text
