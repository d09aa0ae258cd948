"""The pages in a browser: from signing in to the diagnostics of a model, and what a failure tells."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsing import PASSWORD, make_account
from conftest import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="module")
def site(
    make_server: Callable[..., AbstractContextManager[Server]], browser: "Browser", pickles: dict[str, bytes]
) -> Iterator[Server]:
    """A server with a round that is open, where alice has a model that was run, and bob nothing."""
    with make_server() as running:
        alice = make_account(running, "alice")
        make_account(running, "bob")
        running.open_round()
        alice.wait(alice.upload(pickles["one_argument"], alice.add_model("seed")))
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
    page.get_by_label("Account name or e-mail address").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models")
    return page


def upload(page: "Page", site: Server, name: str, file: Path) -> None:
    """Make a model of that name and upload the file for it; ends on the page of the run."""
    page.goto(f"{site.address}/models")
    page.get_by_label("New model").fill(name)
    page.get_by_role("button", name="Make it").click()
    page.get_by_label("Choose a pickle").set_input_files(file)
    page.get_by_role("button", name="Upload and validate").click()
    page.wait_for_url("**/runs/*")


def test_a_model_is_made_uploaded_watched_to_success_and_diagnosed(
    bob: "Page", site: Server, pickle_files: Callable[[str], Path], audit: "Callable[[Page], None]"
) -> None:
    audit(bob)
    bob.get_by_text("Make your first model").wait_for()
    upload(bob, site, "first", pickle_files("good"))
    # Nothing is loaded by hand: the block moves by itself.
    bob.locator(".steps [aria-current=step]", has_text="Success").wait_for()
    bob.get_by_text("Submitted to round 1 for first.").first.wait_for()
    bob.get_by_role("img", name="Histogram").wait_for()
    assert bob.locator(".log .line").inner_text().endswith("predicting 200 rows")
    audit(bob)
    with bob.expect_download() as download:
        bob.get_by_role("link", name="Download the predictions").click()
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
        bob.get_by_role("link", name="Scores of each era (CSV)").click()
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


def test_a_file_is_dropped_and_what_is_no_pickle_is_refused_before_it_is_sent(
    alice: "Page", site: Server, tmp_path: Path, audit: "Callable[[Page], None]"
) -> None:
    alice.get_by_label("New model").fill("dropped")
    alice.get_by_role("button", name="Make it").click()
    audit(alice)
    drop = """(target, name) => {
        const data = new DataTransfer();
        data.items.add(new File(["no pickle at all"], name));
        target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    alice.locator("#drop").evaluate(drop, "predictions.csv")
    assert "must end in .pkl" in alice.get_by_role("alert").inner_text()
    alice.locator("#drop").evaluate(drop, "notes.pkl")
    alice.get_by_text("notes.pkl, 0 KiB").wait_for()
    alice.get_by_role("button", name="Upload and validate").click()
    alice.wait_for_url("**/runs/*")
    alice.get_by_text("Write it with cloudpickle.dump").first.wait_for()


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
    alice.get_by_role("button", name="Make the token").click()
    secret = alice.locator("#secret-key").inner_text()
    assert secret in alice.locator("#mcp-1").inner_text()
    audit(alice)
    alice.goto(f"{site.address}/account")
    assert secret not in alice.content()
    alice.on("dialog", lambda dialog: dialog.accept())
    alice.get_by_role("button", name="Revoke laptop").click()
    alice.get_by_text("The token is revoked.").wait_for()
    assert alice.get_by_role("button", name="Revoke laptop").count() == 0


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_page_is_accessible(
    look: str, alice: "Page", context: "BrowserContext", site: Server, audit: "Callable[[Page], None]"
) -> None:
    if look == "phone":
        alice.set_viewport_size({"width": 360, "height": 740})
    alice.emulate_media(color_scheme="dark" if look == "dark" else "light")
    paths = [
        "/models",
        "/models?archived=yes",
        "/diagnostics",
        "/leaderboard",
        "/leaderboard/accounts",
        "/rounds",
        "/rounds/1",
        "/u/alice",
        "/account",
        "/models/none",
    ]
    alice.goto(f"{site.address}/models")
    first = alice.locator("table.models tbody th a").first.get_attribute("href")
    run = alice.locator("a.run").first.get_attribute("href")
    paths += [str(first), f"{first}/upload", str(run), "/m/seed"]
    for path in paths:
        alice.goto(f"{site.address}{path}")
        audit(alice)
    context.clear_cookies()
    alice.goto(f"{site.address}/signin")
    audit(alice)


def test_the_pages_tell_the_same_without_scripts(browser: "Browser", site: Server) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.address}/signin")
    page.get_by_label("Account name or e-mail address").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("row", name="seed").locator("a.run").click()
    assert "Success" in page.locator(".steps [aria-current=step]").inner_text()
    assert " UTC" in page.locator("time").first.inner_text()
    page.get_by_role("button", name="Validate again").click()
    page.wait_for_url("**/runs/*")
    context.close()
