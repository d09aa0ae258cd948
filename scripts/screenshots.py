"""Takes a picture of every page with the demo's data, into docs/screenshots: `make screenshots`.

It starts a server of its own with accounts, models, rounds and scores, and opens each page in Chromium. The pages are
those of the site's routes: one that has no example here fails it. Takes two to three minutes.
"""

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import demo
import numerapi
import numerapi.base_api
from playwright.sync_api import Browser, Page, sync_playwright

from predictd.db import Database
from predictd.db.accounts import get_account
from predictd.domain.notices import Event
from predictd.notifications.addresses import set_address
from predictd.notifications.signed_tokens import confirmation_token, secret_of, unsubscribe_token
from predictd.settings import Settings
from predictd.web.routes import page_paths

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
PASSWORD = "four words in a row"
WIDTH, HEIGHT, QUALITY = 1280, 860, 62
MOST_BYTES, MOST_IN_ALL = 80_000, 1_000_000
ACCOUNTS = {
    "demo": ("ridgeline", "quartz", "monsoon"),
    "anna": ("larkspur", "basalt", "ember"),
    "benjamin": ("tundra", "saffron", "osprey"),
}
# Who looks at pages whose path begins so: nobody who is signed in, the demo's account, the organiser.
WHO = {"/sign": "", "/password": "", "/unsubscribe": "", "": "demo", "/organise": "olga"}
# Besides all pages in light: address, name of the file, colours, width of the screen.
MORE = (
    ("/models", "models-dark", "dark", WIDTH),
    ("/diagnostics/{id}", "diagnostics-id-dark", "dark", WIDTH),
    ("/models", "models-phone", "light", 390),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="pages with this in their path only")
    only = parser.parse_args().only
    home = Path(tempfile.mkdtemp(prefix="predictd-screenshots-"))
    os.environ["PREDICTD_SIGN_UP"] = "true"
    server, address = demo.start_server(home)
    try:
        prepare(home, address)
        with sync_playwright() as playwright:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            take_all(browser, home, address, only)
            browser.close()
    finally:
        demo.stop(server)
        shutil.rmtree(home, ignore_errors=True)
    check_sizes()


def slug(path: str) -> str:
    """The name of a page's file: 'models-id' for '/models/{id}'."""
    return "-".join(re.findall(r"[a-z_]+", path.replace(":int", "")))


def prepare(home: Path, address: str) -> None:
    """Accounts, models, rounds with scores, one that is open, and a pickle that failed."""
    numerapi.base_api.API_TOURNAMENT_URL = address
    demo.step("Train a few models")
    clients = {name: sign_up(home, name) for name in ACCOUNTS}
    sign_up(home, "olga")
    demo.predictd(home, "account", "admin", "olga")
    data, pickles = home / "data", home / "pickles"
    pickles.mkdir()
    for name in ("features.json", "train.parquet"):
        clients["demo"].download_dataset(f"v5.3/{name}", str(data / name))
    script = Path(__file__).with_name("screenshot_models.py")
    subprocess.run([demo.default_python(home), str(script), str(data), str(pickles)], check=True)
    demo.step("Upload them and play three rounds")
    demo.predictd(home, "round", "open")
    uploaded = {}
    for account, names in ACCOUNTS.items():
        for name in names:
            uploaded[name] = clients[account].model_upload(
                str(pickles / f"{name}.pkl"), model_id=add(clients[account], name)
            )
    for account, names in ACCOUNTS.items():
        for name in names:
            demo.wait(clients[account], uploaded[name], runs=1)
    for number in (2, 3):
        demo.predictd(home, "round", "open")
        for account, names in ACCOUNTS.items():
            for name in names:
                demo.wait(clients[account], uploaded[name], runs=number)
    for number in ("1", "2"):
        demo.predictd(home, "round", "resolve", number)
    add(clients["demo"], "newcomer")
    clients["demo"].model_upload(str(pickles / "broken.pkl"), model_id=add(clients["demo"], "sketch"))
    shutil.copy(pickles / "basalt.pkl", pickles / "model.pkl")
    for account in ACCOUNTS:
        until_diagnosed(clients[account])


def sign_up(home: Path, name: str) -> numerapi.NumerAPI:
    command = [demo.PREDICTD, "account", "create", name, "--password", "--json", "--data-dir", str(home)]
    done = subprocess.run(command, input=f"{PASSWORD}\n", stdout=subprocess.PIPE, text=True, check=True)
    token = json.loads(done.stdout)
    return numerapi.NumerAPI(token["public_id"], token["secret_key"], verbosity="WARNING", show_progress_bars=False)


def add(client: numerapi.NumerAPI, name: str) -> str:
    query = "mutation($n: String!) { addModel(name: $n, tournament: 8) { id } }"
    return str(client.raw_query(query, {"n": name}, authorization=True)["data"]["addModel"]["id"])


def until_diagnosed(client: numerapi.NumerAPI, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    query = "query { computePickles { diagnosticsStatus } }"
    while time.monotonic() < deadline:
        found = client.raw_query(query, authorization=True)["data"]["computePickles"]
        if all(one["diagnosticsStatus"] in ("done", "failed", None) for one in found):
            return
        time.sleep(0.5)
    raise demo.DemoError(f"the diagnostics are not done after {seconds:.0f} s")


def take_all(browser: Browser, home: Path, address: str, only: str) -> None:
    """All pages in light and some in other ways; exits where a page is not found or has no example."""
    FOLDER.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="Europe/Berlin")
    page = context.new_page()
    paths = page_paths(SimpleNamespace(settings=Settings()))  # type: ignore[arg-type]
    links = mailed_links(home)
    sign_in(page, address, "demo")
    examples = links | find_examples(page, address)
    page.context.clear_cookies()
    # Pages for nobody first, those of the organiser last: whoever is signed in stands on top of each.
    signed_in = ""
    for path in sorted((one for one in paths if only in one), key=lambda one: list(WHO).index(who_sees(one))):
        if "{" in path and path not in examples:
            sys.exit(f"The page {path} has no example in scripts/screenshots.py; give it one.")
        if who_sees(path) != signed_in:
            signed_in = who_sees(path)
            page.context.clear_cookies()
            sign_in(page, address, WHO[signed_in])
        take(page, f"{address}{examples.get(path, path)}", slug(path))
    page.context.clear_cookies()
    sign_in(page, address, "demo")
    for path, name, colours, width in (one for one in MORE if only in one[0]):
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
        take(page, f"{address}{examples.get(path, path)}", name)
    if not only:
        kept = {*(slug(path) for path in paths), *(one[1] for one in MORE)}
        for old in FOLDER.glob("*.webp"):
            if old.stem not in kept:
                old.unlink()


def who_sees(path: str) -> str:
    """For whom a page is, by the beginning of its path."""
    return next((one for one in WHO if one and path.startswith(one)), "")


def sign_in(page: Page, address: str, name: str) -> None:
    if not name:
        return
    page.goto(f"{address}/signin")
    page.get_by_label("Account name or e-mail address").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models")


def find_examples(page: Page, address: str) -> dict[str, str]:
    """Where to look at pages whose path has parameters."""

    def first(path: str, selector: str, attribute: str = "href") -> str:
        page.goto(f"{address}{path}")
        return str(page.locator(selector).first.get_attribute(attribute))

    model = first("/models", "th a:text-is('quartz')")
    page.goto(f"{address}{model}/upload")
    page.get_by_label("Choose a pickle").set_input_files(
        {"name": "model.pkl", "mimeType": "application/octet-stream", "buffer": pickle_of_a_missing_module()}
    )
    page.get_by_role("button", name="Upload and check").click()
    page.wait_for_url("**/upload/*.pkl")
    check = page.url.removeprefix(address)
    page.goto(f"{address}/diagnostics")
    done = [str(one.get_attribute("value")) for one in page.locator("input[name=of]:not([disabled])").all()]
    return {
        "/models/{id}": model,
        "/models/{id}/upload": f"{model}/upload",
        "/models/{id}/upload/{filename}": check,
        "/runs/{id}": first("/models", "tr:has(a:text-is('sketch')) a.run"),
        "/diagnostics/{id}": first("/diagnostics", "tr:has(a:text-is('quartz')) th a"),
        "/diagnostics/compare": f"/diagnostics/compare?of={done[0]}&of={done[1]}",
        "/m/{name}": "/m/quartz",
        "/u/{name}": "/u/demo",
        "/rounds/{number}": "/rounds/2",
        "/organise/rounds/{number}": "/organise/rounds/2",
    }


def mailed_links(home: Path) -> dict[str, str]:
    """Return the paths of links in e-mails, and of an account's admin page."""
    database = Database(Settings(data_dir=home).resolved_database_url)
    now = datetime.now(UTC)
    with database.write() as session:
        account = get_account(session, "anna")
        set_address(session, account, "anna@example.org", now)
        secret_of(account)
        found = {
            "/account/confirm/{token}": f"/account/confirm/{confirmation_token(account, now)}",
            "/unsubscribe/{token}": f"/unsubscribe/{unsubscribe_token(account, [Event.RUN_FAILED])}",
            "/organise/accounts/{id}": f"/organise/accounts/{account.id}",
        }
    database.close()
    link = json.loads(demo.predictd(home, "account", "password-link", "anna", "--json"))["link"]
    return {**found, "/password/{secret}": link[link.index("/password/") :]}


def pickle_of_a_missing_module() -> bytes:
    """A pickle that there is something to say about: it names a module of the user's own."""
    return b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\tmy_models\x94\x8c\x07predict\x94\x93\x94."


def take(page: Page, url: str, name: str) -> None:
    """The page as it is first seen, as WebP, which Chromium writes smaller than PNG."""
    answer = page.goto(url, wait_until="load")
    if answer is None or answer.status != 200:
        sys.exit(f"{url} answers {answer.status if answer else 'nothing'}; no picture of it.")
    page.wait_for_timeout(300)
    session = page.context.new_cdp_session(page)
    shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    content = base64.b64decode(shot["data"])
    session.detach()
    (FOLDER / f"{name}.webp").write_bytes(content)
    print(f"{len(content) / 1000:6.1f} kB  {name}", flush=True)


def check_sizes() -> None:
    sizes = {one.name: one.stat().st_size for one in FOLDER.glob("*.webp")}
    large = [name for name, size in sizes.items() if size > MOST_BYTES]
    total = sum(sizes.values())
    print(f"{len(sizes)} pictures, {total / 1000:.0f} kB")
    if large or total > MOST_IN_ALL:
        sys.exit(f"Too large: {', '.join(large) or 'all of them together'}; lower QUALITY.")


if __name__ == "__main__":
    main()
