"""The admin pages: what admins can do, who can open them, and what the audit log records."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
import requests

from browsing import PASSWORD, Visitor, make_account
from conftest import GraphQLErrors, Server, User

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = (
    "/admin",
    "/admin/accounts",
    "/admin/rounds",
    "/admin/data",
    "/admin/runtimes",
    "/admin/queue",
    "/admin/audit",
)


@pytest.fixture(scope="module")
def site(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server whose admin is olga."""
    with make_server() as running:
        make_account(running, "olga")
        running.predictd("account", "admin", "olga")
        yield running


@pytest.fixture(scope="module")
def bob(site: Server) -> User:
    """Somebody else there."""
    return make_account(site, "bob")


@pytest.fixture
def olga(site: Server) -> Visitor:
    """The admin, with a browser that runs no scripts."""
    visitor = Visitor(site.address)
    visitor.sign_in("olga")
    return visitor


def entries(site: Server, *arguments: str) -> list[dict[str, Any]]:
    """The audit log, newest first."""
    return list(json.loads(site.predictd("audit", "--json", *arguments).stdout))


def account_page(olga: Visitor, name: str) -> str:
    """The path of the page of that account."""
    found = re.search(rf'href="(/admin/accounts/[^"]+)">{name}<', olga.get(f"/admin/accounts?q={name}").text)
    assert found is not None
    return found[1]


def test_only_admins_get_these_pages(site: Server, olga: Visitor, bob: User) -> None:
    nobody, other = Visitor(site.address), Visitor(site.address)
    other.sign_in("bob")
    own = account_page(olga, "bob")
    forms = (f"{own}/grant-admin", "/admin/rounds/open", "/admin/rounds/close", "/admin/queue/x/cancel")
    for path in (*PAGES, own, "/admin/rounds/1"):
        assert nobody.client.get(f"{site.address}{path}", allow_redirects=False, timeout=10).status_code == 303, path
        answer = other.get(path)
        assert (answer.status_code, "This page does not exist." in answer.text) == (404, True), path
        assert "olga" not in answer.text
    for path in forms:
        assert other.send(path, "/models", confirmed="yes").status_code == 404, path
    data = {"csrf": other.csrf("/models"), "confirmed": "yes"}
    file = {"file": ("targets.csv", b"id,target\n")}
    score = f"{site.address}/admin/rounds/1/score"
    assert other.client.post(score, data=data, files=file, timeout=10).status_code in (403, 404)
    assert 'href="/admin"' not in other.get("/models").text
    assert 'href="/admin"' in olga.get("/models").text
    assert entries(site, "--who", "bob", "--action", "round") == []


def test_an_account_is_made_and_its_owner_chooses_the_password_by_a_link_that_is_good_once(
    site: Server, olga: Visitor
) -> None:
    made = olga.send("/admin/accounts", "/admin/accounts", name="carol", email="carol@example.org")
    link = re.search(r"/password/[\w-]+", made.text)
    assert link is not None
    carol = Visitor(site.address)
    assert "choose one of 10 to 200" in carol.send(link[0], link[0], password="short").text
    assert "Password saved" in carol.send(link[0], link[0], password=PASSWORD).text
    assert carol.sign_in("carol").url.endswith("/models")
    assert Visitor(site.address).get(link[0]).status_code == 404
    assert link[0] not in site.log
    told = [(one["who"], one["interface"], one["action"]) for one in entries(site, "--about", "carol")]
    assert told == [
        ("carol", "web", "sign_in"),
        ("carol", "web", "account.password"),
        ("olga", "web", "account.password_link"),
        ("olga", "web", "account.create"),
    ]


def test_a_suspended_account_is_kept_out_and_its_models_do_not_run(
    site: Server, olga: Visitor, pickles: dict[str, bytes]
) -> None:
    dave = make_account(site, "dave")
    model = dave.add_model("of_dave")
    dave.wait(dave.upload(pickles["one_argument"], model))
    browser = Visitor(site.address)
    browser.sign_in("dave")
    own = account_page(olga, "dave")
    assert "Select the confirmation checkbox" in olga.send(f"{own}/suspend", own).text
    assert "Account suspended" in olga.send(f"{own}/suspend", own, confirmed="yes").text
    assert "/signin" in browser.get("/models").url
    assert "The account is suspended" in browser.sign_in("dave").text
    with pytest.raises(GraphQLErrors, match="session is invalid"):
        dave.ask("{ account { id } }")
    opened = json.loads(site.predictd("round", "open", "--json").stdout)
    assert opened["queued"] == 0
    assert "Account reactivated" in olga.send(f"{own}/reactivate", own).text
    assert json.loads(site.predictd("round", "open", "--json").stdout)["queued"] == 1
    dave.wait(dave.pickle(dave.ask("{ computePickles { id } }")["computePickles"][0]["id"])["id"], runs=2)
    assert "your own account" in olga.send(f"{account_page(olga, 'olga')}/suspend", own, confirmed="yes").text


def test_a_round_is_opened_closed_scored_by_a_file_and_resolved(site: Server, olga: Visitor) -> None:
    rounds = "/admin/rounds"
    assert "Select the confirmation checkbox" in olga.send(f"{rounds}/open", rounds, length="1h").text
    opened = olga.send(f"{rounds}/open", rounds, length="1h", confirmed="yes")
    assert "Round opened" in opened.text
    path = opened.url.removeprefix(site.address).partition("?")[0]
    number = path.rpartition("/")[2]
    assert "A round can be scored after it closes" in olga.get(path).text
    assert "Round closed" in olga.send(f"{rounds}/close", rounds, confirmed="yes").text

    def score(content: str, **fields: str) -> requests.Response:
        data = {"csrf": olga.csrf(path), "column": "target", "confirmed": "yes", **fields}
        file = {"file": ("targets.csv", content.encode())}
        return olga.client.post(f"{site.address}{path}/score", data=data, files=file, timeout=60)

    wrong = score("id,target\nnobody,0.5\n", kind="day")
    assert (wrong.status_code, "The targets have 0% of the live ids" in wrong.text) == (400, True)
    ids = live_ids(site)
    targets = "id,target\n" + "".join(f"{one},{place % 5 / 4}\n" for place, one in enumerate(ids))
    assert "Daily scores saved" in score(targets, kind="day").text
    assert "Round resolved" in olga.send(f"{path}/resolve", path, confirmed="yes").text
    told = [(one["who"], one["action"]) for one in entries(site, "--about", number, "--way", "web")]
    assert told[:5] == [
        ("olga", "round.resolve"),
        ("olga", "round.score"),
        ("olga", "round.score"),
        ("olga", "round.close"),
        ("olga", "round.open"),
    ]


def live_ids(site: Server) -> list[str]:
    """The ids of the newest round's live data, as anybody downloads them."""
    import io

    import pyarrow.parquet as pq

    nobody = User(site.address, "", "NONE", "NONE")
    names = nobody.ask("{ listDatasets }")["listDatasets"]
    name = next(one for one in names if one.endswith("/live.parquet"))
    url = nobody.ask("query($n: String!) { dataset(filename: $n) }", n=name)["dataset"]
    table = pq.read_table(io.BytesIO(requests.get(url, timeout=30).content), columns=["id"])
    return list(table.column("id").to_pylist())


def test_a_run_is_shown_where_it_runs_and_canceled(
    site: Server, olga: Visitor, bob: User, pickles: dict[str, bytes]
) -> None:
    pickle = bob.upload(pickles["slow"], bob.add_model("slow_of_bob"))
    run = bob.pickle(pickle)["triggers"][0]["id"]
    wait_for(lambda: bob.pickle(pickle)["triggers"][0]["status"] == "running")
    queue = olga.get("/admin/queue").text
    row = next(one for one in queue.split("<tr>") if run[:8] in one)
    for told in ("slow_of_bob", "(this server)", "worker ", 'class="number">1<'):
        assert told in row
    assert "Run canceled" in olga.send(f"/admin/queue/{run}/cancel", "/admin/queue", confirmed="yes").text
    ended = bob.wait(pickle)["triggers"][0]
    assert ended["status"] == "model_failed"
    assert ended["statuses"][-1]["description"].startswith("Cancelled by an admin.")
    # Once more is harmless, and nothing that was done.
    assert olga.send(f"/admin/queue/{run}/cancel", "/admin/queue", confirmed="yes").status_code == 200
    refused = olga.send(f"/admin/queue/{run}/requeue", "/admin/queue")
    assert (refused.status_code, "the owner can run" in refused.text) == (409, True)
    told = [(one["who"], one["action"], one["detail"]["state"]) for one in entries(site, "--about", run)]
    assert told == [("olga", "run.cancel", ["running", "model_failed"])]


def test_a_run_that_the_platform_stopped_is_requeued(
    site: Server, olga: Visitor, bob: User, pickles: dict[str, bytes]
) -> None:
    pickle, own = bob.upload(pickles["slow"]), account_page(olga, "bob")
    run = bob.pickle(pickle)["triggers"][0]["id"]
    olga.send(f"{own}/suspend", own, confirmed="yes")
    refused = olga.send(f"/admin/queue/{run}/requeue", "/admin/queue")
    assert (refused.status_code, "reactivate it first" in refused.text) == (409, True)
    olga.send(f"{own}/reactivate", own)
    assert "Run requeued" in olga.send(f"/admin/queue/{run}/requeue", "/admin/queue").text
    assert bob.wait(pickle)["validationStatus"] == "validated"
    ended = olga.send(f"/admin/queue/{run}/cancel", "/admin/queue", confirmed="yes")
    assert (ended.status_code, "already ended" in ended.text) == (409, True)
    told = [(one["who"], one["action"]) for one in entries(site, "--about", run)]
    assert told == [("olga", "run.requeue"), ("olga", "run.stop")]


def test_the_audit_log_tells_the_same_whichever_way_it_is_done_and_no_secret(
    site: Server, bob: User, pickles: dict[str, bytes]
) -> None:
    browser, webhook = Visitor(site.address), "https://hooks.example.org/services/SECRET-PATH"
    browser.sign_in("bob", "not the password")
    browser.sign_in("a password typed as a name", "x")
    browser.sign_in("bob")
    browser.send("/models", "/models", name="by_web")
    model = bob.add_model("by_api")
    with pytest.raises(GraphQLErrors, match="already taken"):
        bob.add_model("by_api")
    bob.ask("mutation($m: String, $u: String) { setSubmissionWebhook(modelId: $m, newSubmissionWebhook: $u) }",
            m=model, u=webhook)  # fmt: skip
    bob.ask("mutation($m: ID!) { archiveModel(modelId: $m) { id } }", m=model)
    token = json.loads(site.predictd("token", "create", "bob", "--name", "by hand", "--json").stdout)
    bob.ask("mutation($p: String!) { revokeApiToken(publicId: $p) { name } }", p=token["public_id"])
    site.predictd("runtime", "list")
    found = entries(site, "--limit", "12")
    told = [(one["who"], one["interface"], one["action"], one["object_name"]) for one in found]
    user = site.predictd("audit", "--about", "by hand", "--action", "token.create", "--json").stdout
    root = json.loads(user)[0]["who"]
    assert told[:9] == [
        ("bob", "api", "token.revoke", "by hand"),
        (root, "command line", "token.create", "by hand"),
        ("bob", "api", "model.archive", "by_api"),
        ("bob", "api", "model.set_webhook", "by_api"),
        ("bob", "api", "model.create", "by_api"),
        ("bob", "web", "model.create", "by_web"),
        ("bob", "web", "sign_in", "bob"),
        ("", "web", "sign_in.failed", ""),
        ("", "web", "sign_in.failed", "bob"),
    ]
    assert found[3]["detail"] == {"host": "hooks.example.org"}
    assert found[1]["detail"]["account"] == "bob"
    assert all(one["address"] == ("" if one["interface"] == "command line" else "127.0.0.1") for one in found[:9])
    page = "/account/notifications"
    browser.send(f"{page}/webhooks", page, url=webhook, **{"event-run_failed": "yes"})
    kept = entries(site, "--action", "webhook.create")[0]
    assert (kept["object_name"], kept["detail"]) == ("hooks.example.org", {"events": ["run_failed"]})
    everything = site.predictd("audit", "--json", "--limit", "1000").stdout + site.predictd("audit").stdout
    for secret in (PASSWORD, "SECRET-PATH", token["secret_key"], bob.secret_key, "typed as a name"):
        assert secret not in everything


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_browser_reads_the_audit_log_by_its_filters(page: "Page", site: Server, bob: User) -> None:
    sign_in(page, site)
    bob.add_model("seen_here")
    page.get_by_role("link", name="Admin").click()
    page.get_by_role("link", name="Audit log").click()
    page.get_by_role("textbox", name="Account").fill("bob")
    page.get_by_label("Action").select_option("model.create")
    page.get_by_label("Object").fill("SEEN")
    page.get_by_role("button", name="Search").click()
    row = page.get_by_role("row", name="model seen_here")
    assert "api" in row.inner_text()
    assert page.get_by_role("row").count() == 2


def sign_in(page: "Page", site: Server) -> None:
    page.goto(f"{site.address}/signin?next=/admin")
    page.get_by_label("Account name or email address").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/admin")
