"""The pages in a browser: from signing in to the diagnostics of a model, and what a failure tells."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsing import PASSWORD, Visitor, make_account, page_paths
from conftest import RUNTIMES, Server
from predictd.db import Database
from predictd.db.accounts import create_account, get_account
from predictd.db.model_queries import add_model
from predictd.db.models import Diagnostics
from predictd.domain.notification_types import Event
from predictd.notifications.email_addresses import set_address
from predictd.notifications.signed_tokens import confirmation_token, link_signing_key_of, unsubscribe_token

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def site(
    make_server: Callable[..., AbstractContextManager[Server]], browser: "Browser", pickles: dict[str, bytes]
) -> Iterator[Server]:
    """A server with a round that is open, where alice has models that were run and diagnosed, and bob nothing."""
    with make_server(allow_sign_up=True) as running:
        alice = make_account(running, "alice")
        make_account(running, "bob")
        running.open_round()
        if list(RUNTIMES.glob("numerai_predict_py_3_11-*")):
            running.predictd("runtime", "build", "3.11")
        for name, pickle in {"seed": "one_argument", "second": "good"}.items():
            alice.wait(alice.upload(pickles[pickle], alice.add_model(name)))
        yield running


@pytest.fixture
def alice(page: "Page", site: Server) -> "Page":
    """The page on which alice has signed in."""
    return sign_in(page, site, "alice")


@pytest.fixture
def bob(page: "Page", site: Server) -> "Page":
    """The page on which bob has signed in."""
    return sign_in(page, site, "bob")


def sign_in(page: "Page", site: Server, name: str) -> "Page":
    page.goto(f"{site.address}/")
    page.get_by_label("Account name or email address").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models")
    return page


def make_model(page: "Page", site: Server, name: str) -> None:
    """Make a model of that name; ends on the page to upload for it."""
    page.goto(f"{site.address}/models")
    page.get_by_label("New model").fill(name)
    page.get_by_role("button", name="Create model").click()


def drop(page: "Page", name: str, content: bytes) -> None:
    """Drop a file of that name and content where a pickle is asked for."""
    script = """(target, [name, content]) => {
        const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], name));
        target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    page.get_by_text("or drop it here").wait_for()
    page.locator("#drop").evaluate(script, [name, base64.b64encode(content).decode()])


def upload(page: "Page", site: Server, name: str, file: Path) -> None:
    """Make a model of that name, drop the file for it and run it; ends on the page of the run."""
    make_model(page, site, name)
    drop(page, file.name, file.read_bytes())
    page.get_by_role("button", name="Upload and check").click()
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/runs/*")


def test_a_model_is_made_uploaded_watched_to_success_and_diagnosed(
    bob: "Page", site: Server, pickle_files: Callable[[str], Path], audit: "Callable[[Page], None]"
) -> None:
    audit(bob)
    bob.get_by_text("Create your first model").wait_for()
    upload(bob, site, "first", pickle_files("good"))
    # Nothing is loaded by hand: the block moves by itself.
    bob.locator(".steps [aria-current=step]", has_text="Success").wait_for()
    bob.get_by_text("Submitted to round 1 for first.").first.wait_for()
    bob.get_by_role("img", name="Histogram").wait_for()
    assert bob.locator(".log .line").inner_text().endswith("predicting 200 rows")
    audit(bob)
    with bob.expect_download() as download:
        bob.get_by_role("link", name="Download predictions").click()
    assert len(download.value.path().read_text().splitlines()) == 201

    bob.goto(f"{site.address}/models")
    row = bob.get_by_role("row", name="first")
    row.get_by_text("Round 1: submitted").wait_for(state="attached")
    row.get_by_role("link", name="Diagnostics of first").get_by_text("Open").wait_for()
    audit(bob)
    row.get_by_role("link", name="Diagnostics of first").click()
    bob.get_by_role("img", name=re.compile("Chart: Cumulative CORR")).first.wait_for()
    audit(bob)
    bob.get_by_text("Export").click()
    with bob.expect_download() as download:
        bob.get_by_role("link", name="Per-era scores (CSV)").click()
    assert "validationCorr" in download.value.path().read_text().splitlines()[0]


def test_a_failure_shows_its_remedy_first_and_the_slot_stays_empty(
    alice: "Page", site: Server, pickle_files: Callable[[str], Path], audit: "Callable[[Page], None]"
) -> None:
    upload(alice, site, "broken", pickle_files("returns_nan"))
    failure = alice.locator(".failure")
    failure.wait_for()
    assert failure.locator("p").first.inner_text() == (
        "Fill missing values before or after predicting, for example with 0.5."
    )
    assert "1 of 200 predictions are NaN" in failure.inner_text()
    assert failure.bounding_box()["y"] < alice.locator(".steps").bounding_box()["y"]  # type: ignore[index]
    audit(alice)
    alice.get_by_role("link", name="broken").first.click()
    assert alice.get_by_text("Invalid", exact=True).count() == 1
    assert alice.get_by_text("Assigned", exact=True).count() == 0
    audit(alice)


def test_what_the_server_finds_in_a_pickle_is_shown_before_it_is_run(
    alice: "Page",
    site: Server,
    pickles: dict[str, bytes],
    other_python_pickle: bytes | None,
    audit: "Callable[[Page], None]",
) -> None:
    make_model(alice, site, "checked")
    audit(alice)
    drop(alice, "predictions.csv", b"no pickle at all")
    assert "whose name ends in .pkl" in alice.get_by_role("alert").inner_text()
    drop(alice, "notes.pkl", b"no pickle at all")
    alice.get_by_text("notes.pkl, 0 KiB").wait_for()
    alice.get_by_role("button", name="Upload and check").click()
    alice.get_by_text("Write it with cloudpickle.dump").wait_for()
    audit(alice)
    assert alice.get_by_role("button", name="Run anyway").count() == 1
    check = alice.url
    alice.get_by_role("button", name="Discard").click()
    alice.get_by_text("Upload discarded").wait_for()
    alice.get_by_text("No pickles yet").wait_for()
    alice.goto(check)
    alice.get_by_text("were received. Upload the file again").wait_for()

    alice.goto(check.rpartition("/")[0])
    drop(alice, "model.pkl", other_python_pickle or pickles["good"])
    alice.get_by_role("button", name="Upload and check").click()
    assert alice.locator("#verdict").inner_text().startswith("No problems found")
    chosen = alice.get_by_label("Runtime").locator("option:checked").inner_text()
    assert chosen.endswith(", matches")
    if other_python_pickle is not None:  # of Python 3.11
        # The default would not run it, and the check says so when it is chosen.
        assert not chosen.startswith("Python 3.12")
        alice.get_by_label("Runtime").select_option(label="Python 3.12, different Python version")
        alice.get_by_role("button", name="Check again").click()
        alice.get_by_text("but the runtime is Python 3.12").wait_for()
        alice.get_by_label("Runtime").select_option(label=chosen)
    alice.get_by_label("Label").fill("the first")
    alice.get_by_role("button", name=re.compile("Run (now|anyway)")).click()
    alice.get_by_role("heading", name="Validation run: the first").wait_for()
    alice.locator(".steps [aria-current=step]", has_text="Success").wait_for()


def test_what_a_model_prints_harms_nobody(
    alice: "Page", site: Server, pickle_files: Callable[[str], Path], audit: "Callable[[Page], None]"
) -> None:
    upload(alice, site, "printer", pickle_files("prints_markup"))
    alice.locator(".steps [aria-current=step]", has_text="Success").wait_for()
    log = alice.locator(".log").inner_text()
    assert "<script>document.title = 'taken over'</script>" in log
    assert "red  bell\N{REPLACEMENT CHARACTER} turned\N{REPLACEMENT CHARACTER}around" in log
    assert alice.title().startswith("Success")
    alice.get_by_label("Search").fill("bell")
    assert alice.locator(".log .line:visible").count() == 1
    audit(alice)


def test_a_token_is_shown_once_and_ends_when_it_is_revoked(
    alice: "Page", site: Server, audit: "Callable[[Page], None]"
) -> None:
    alice.get_by_role("link", name="alice").click()
    audit(alice)
    alice.get_by_label("Name").fill("laptop")
    alice.get_by_role("button", name="Create token").click()
    secret = alice.locator("#secret-key").inner_text()
    assert secret in alice.locator("#mcp-1").inner_text()
    audit(alice)
    alice.goto(f"{site.address}/account")
    assert secret not in alice.content()
    alice.on("dialog", lambda dialog: dialog.accept())
    alice.get_by_role("button", name="Revoke laptop").click()
    alice.get_by_text("Token revoked.").wait_for()
    assert alice.get_by_role("button", name="Revoke laptop").count() == 0


def diagnose_others(site: Server, like: str) -> None:
    """Write diagnostics of five models of somebody else, so that ratings are shown, with the figures of those."""
    database = Database(site.environment["PREDICTD_DATABASE_URL"])
    with database.write() as session:
        known = session.get_one(Diagnostics, like)
        kept = {"data_version_id": known.data_version_id, "figures": known.figures, "filename": "model.pkl"}
        times = {"inserted_at": known.inserted_at, "updated_at": known.updated_at}
        carol = create_account(session, "carol", known.inserted_at)
        for number in range(5):
            model = add_model(session, carol, f"carols_{number}", 8, known.inserted_at, 50)
            session.add(Diagnostics(account_id=carol.id, model_id=model.id, **kept, **times))
    database.close()


def links_of_mails(site: Server, name: str) -> tuple[str, str]:
    """Where the links of the mails to an account lead that confirm its address and end mails about failed runs."""
    database = Database(site.environment["PREDICTD_DATABASE_URL"])
    now = datetime.now(UTC)
    with database.write() as session:
        account = get_account(session, name)
        set_address(session, account, f"{name}@example.org", now)
        link_signing_key_of(account)
        found = confirmation_token(account, now), unsubscribe_token(account, [Event.RUN_FAILED])
    database.close()
    return f"/account/confirm/{found[0]}", f"/unsubscribe/{found[1]}"


@pytest.fixture(scope="module")
def addresses(site: Server, pickles: dict[str, bytes], browser: "Browser") -> dict[str, str]:
    """Of each page, by its route's path, where alice finds one. A new page without parameters needs no entry."""
    visitor = Visitor(site.address)
    visitor.sign_in("alice")

    def first(path: str, pattern: str) -> str:
        found = re.search(pattern, visitor.get(path).text)
        assert found is not None, path
        return found[1]

    model = first("/models", r'href="(/models/[^"/?#]+)"')
    sent = {"file": ("model.pkl", pickles["good"])}
    check = visitor.client.post(
        f"{site.address}{model}/upload", data={"csrf": visitor.csrf(f"{model}/upload")}, files=sent, timeout=30
    ).url.removeprefix(site.address)
    deadline = time.monotonic() + 60
    while (
        len(done := re.findall(r'value="([^"]+)"[^>]*aria-label="Compare [^"]+" >', visitor.get("/diagnostics").text))
        < 2
    ):
        assert time.monotonic() < deadline, "the diagnostics are not done"
        time.sleep(0.5)
    diagnose_others(site, done[0])
    site.predictd("account", "admin", "alice")
    link = json.loads(site.predictd("account", "password-link", "bob", "--json").stdout)["link"]
    confirm, unsubscribe = links_of_mails(site, "alice")
    known = {
        "/models/{id}": model,
        "/models/{id}/upload": f"{model}/upload",
        "/models/{id}/upload/{filename}": check,
        "/runs/{id}": first("/models", r'href="(/runs/[^"]+)"'),
        "/diagnostics/{id}": f"/diagnostics/{done[0]}",
        "/diagnostics/compare": f"/diagnostics/compare?id={done[0]}&id={done[1]}",
        "/m/{name}": "/m/seed",
        "/u/{name}": "/u/alice",
        "/rounds/{number}": "/rounds/1",
        "/password/{secret}": link[link.index("/password/") :],
        "/account/confirm/{token}": confirm,
        "/unsubscribe/{token}": unsubscribe,
        "/admin/accounts/{id}": first("/admin/accounts", r'href="(/admin/accounts/[^"?]+)"'),
        "/admin/rounds/{number}": "/admin/rounds/1",
    }
    return {path: known.get(path, path) for path in page_paths()}


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_page_is_accessible(
    look: str, alice: "Page", site: Server, addresses: dict[str, str], audit: "Callable[[Page], None]"
) -> None:
    if look == "phone":
        alice.set_viewport_size({"width": 360, "height": 740})
    alice.emulate_media(color_scheme="dark" if look == "dark" else "light")
    for path, address in addresses.items():
        assert "{" not in address, f"no example of the page {path} is audited"
        answer = alice.goto(f"{site.address}{address}")
        assert answer is not None
        assert answer.status == 200, address
        if path == "/diagnostics/{id}":
            assert alice.locator(".tiles .sub").first.inner_text().endswith(" other models")
        audit(alice)
    for address in ("/models?archived=yes", "/models?q=none", "/models/none"):
        alice.goto(f"{site.address}{address}")
        audit(alice)


def test_the_pages_tell_and_take_the_same_without_scripts(
    browser: "Browser", site: Server, pickle_files: Callable[[str], Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = sign_in(context.new_page(), site, "alice")
    page.get_by_role("row", name="seed").locator("a.run").click()
    assert "Success" in page.locator(".steps [aria-current=step]").inner_text()
    assert " UTC" in page.locator("time").first.inner_text()
    page.get_by_role("button", name="Validate again").click()
    page.wait_for_url("**/runs/*")

    make_model(page, site, "plain")
    page.get_by_label("Choose a pickle").set_input_files(pickle_files("returns_nan"))
    page.get_by_role("button", name="Upload and check").click()
    assert "No problems found" in page.locator("#verdict").inner_text()
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/runs/*")
    while not page.locator(".failure").count():
        page.wait_for_timeout(300)
        page.reload()
    assert page.locator(".remedy").inner_text().startswith("Fill missing values")
    context.close()
