"""Takes a screenshot of every page with the data of the demo into docs/screenshots: `make screenshots`.

It starts a server with accounts, models, rounds, and scores, and opens every route of a page in Chromium. It fails for
a page with parameters that has no example here. Takes two to three minutes.
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
from predictd.domain.notification_types import Event
from predictd.notifications.email_addresses import set_address
from predictd.notifications.signed_tokens import confirmation_token, link_signing_key_of, unsubscribe_token
from predictd.settings import Settings
from predictd.web.routes import page_paths

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
PASSWORD = "four words in a row"
WIDTH, HEIGHT, QUALITY = 1280, 860, 62
MAX_BYTES, MAX_TOTAL_BYTES = 80_000, 1_000_000
ACCOUNTS = {
    "demo": ("ridgeline", "quartz", "monsoon"),
    "anna": ("larkspur", "basalt", "ember"),
    "benjamin": ("tundra", "saffron", "osprey"),
}
# The account that opens pages by the prefix of their path; none for public pages.
ACCOUNT_BY_PREFIX = {"/sign": "", "/password": "", "/unsubscribe": "", "": "demo", "/admin": "olga"}
# In addition to all pages in the light color scheme: path, name of the file, color scheme, width of the screen.
VARIANTS = (
    ("/models", "models-dark", "dark", WIDTH),
    ("/diagnostics/{id}", "diagnostics-id-dark", "dark", WIDTH),
    ("/models", "models-phone", "light", 390),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="only pages whose path contains this text")
    only = parser.parse_args().only
    home = Path(tempfile.mkdtemp(prefix="predictd-screenshots-"))
    os.environ["PREDICTD_ALLOW_SIGN_UP"] = "true"
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
    """Return the name of the file of a page: 'models-id' for '/models/{id}'."""
    return "-".join(re.findall(r"[a-z_]+", path.replace(":int", "")))


def prepare(home: Path, address: str) -> None:
    """Create accounts, models, rounds with scores, an open round, and a pickle that failed."""
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
        wait_for_diagnostics(clients[account])


def sign_up(home: Path, name: str) -> numerapi.NumerAPI:
    command = [demo.PREDICTD, "account", "create", name, "--password", "--json", "--data-dir", str(home)]
    done = subprocess.run(command, input=f"{PASSWORD}\n", stdout=subprocess.PIPE, text=True, check=True)
    token = json.loads(done.stdout)
    return numerapi.NumerAPI(token["public_id"], token["secret_key"], verbosity="WARNING", show_progress_bars=False)


def add(client: numerapi.NumerAPI, name: str) -> str:
    query = "mutation($n: String!) { addModel(name: $n, tournament: 8) { id } }"
    return str(client.raw_query(query, {"n": name}, authorization=True)["data"]["addModel"]["id"])


def wait_for_diagnostics(client: numerapi.NumerAPI, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    query = "query { computePickles { diagnosticsStatus } }"
    while time.monotonic() < deadline:
        pickles = client.raw_query(query, authorization=True)["data"]["computePickles"]
        if all(pickle["diagnosticsStatus"] in ("done", "failed", None) for pickle in pickles):
            return
        time.sleep(0.5)
    raise demo.DemoError(f"the diagnostics are not finished after {seconds:.0f} s")


def take_all(browser: Browser, home: Path, address: str, only: str) -> None:
    """Take all screenshots; exit if a page is not found or has no example."""
    FOLDER.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="Europe/Berlin")
    page = context.new_page()
    paths = page_paths(SimpleNamespace(settings=Settings()))  # type: ignore[arg-type]
    links = mailed_links(home)
    sign_in(page, address, "demo")
    examples = links | find_examples(page, address)
    page.context.clear_cookies()
    # Public pages first, admin pages last, because the header shows the signed-in account.
    signed_in = ""
    for path in sorted(
        (path for path in paths if only in path), key=lambda path: list(ACCOUNT_BY_PREFIX).index(prefix_of(path))
    ):
        if "{" in path and path not in examples:
            sys.exit(f"The page {path} has no example in scripts/screenshots.py; give it one.")
        if prefix_of(path) != signed_in:
            signed_in = prefix_of(path)
            page.context.clear_cookies()
            sign_in(page, address, ACCOUNT_BY_PREFIX[signed_in])
        take(page, f"{address}{examples.get(path, path)}", slug(path))
    page.context.clear_cookies()
    sign_in(page, address, "demo")
    for path, name, color_scheme, width in (variant for variant in VARIANTS if only in variant[0]):
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme=color_scheme)  # type: ignore[arg-type]
        take(page, f"{address}{examples.get(path, path)}", name)
    if not only:
        current = {*(slug(path) for path in paths), *(variant[1] for variant in VARIANTS)}
        for file in FOLDER.glob("*.webp"):
            if file.stem not in current:
                file.unlink()


def prefix_of(path: str) -> str:
    """Return the prefix of the path in `ACCOUNT_BY_PREFIX`."""
    return next((prefix for prefix in ACCOUNT_BY_PREFIX if prefix and path.startswith(prefix)), "")


def sign_in(page: Page, address: str, name: str) -> None:
    if not name:
        return
    page.goto(f"{address}/signin")
    page.get_by_label("Account name or email address").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models")


def find_examples(page: Page, address: str) -> dict[str, str]:
    """Return an example path for each page whose path has parameters."""

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
    done = [str(checkbox.get_attribute("value")) for checkbox in page.locator("input[name=id]:not([disabled])").all()]
    return {
        "/models/{id}": model,
        "/models/{id}/upload": f"{model}/upload",
        "/models/{id}/upload/{filename}": check,
        "/runs/{id}": first("/models", "tr:has(a:text-is('sketch')) a.run"),
        "/diagnostics/{id}": first("/diagnostics", "tr:has(a:text-is('quartz')) th a"),
        "/diagnostics/compare": f"/diagnostics/compare?id={done[0]}&id={done[1]}",
        "/m/{name}": "/m/quartz",
        "/u/{name}": "/u/demo",
        "/rounds/{number}": "/rounds/2",
        "/admin/rounds/{number}": "/admin/rounds/2",
    }


def mailed_links(home: Path) -> dict[str, str]:
    """Return the paths of links in e-mails, and of an account's admin page."""
    database = Database(Settings(data_dir=home).resolved_database_url)
    now = datetime.now(UTC)
    with database.write() as session:
        account = get_account(session, "anna")
        set_address(session, account, "anna@example.org", now)
        link_signing_key_of(account)
        paths = {
            "/account/confirm/{token}": f"/account/confirm/{confirmation_token(account, now)}",
            "/unsubscribe/{token}": f"/unsubscribe/{unsubscribe_token(account, [Event.RUN_FAILED])}",
            "/admin/accounts/{id}": f"/admin/accounts/{account.id}",
        }
    database.close()
    link = json.loads(demo.predictd(home, "account", "password-link", "anna", "--json"))["link"]
    return {**paths, "/password/{secret}": link[link.index("/password/") :]}


def pickle_of_a_missing_module() -> bytes:
    """Return a pickle with findings: it imports a module that no runtime has."""
    return b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\tmy_models\x94\x8c\x07predict\x94\x93\x94."


def take(page: Page, url: str, name: str) -> None:
    """Take a screenshot of the visible part of a page as WebP, which is smaller than PNG."""
    response = page.goto(url, wait_until="load")
    if response is None or response.status != 200:
        sys.exit(f"{url} responds with {response.status if response else 'nothing'}.")
    page.wait_for_timeout(300)
    session = page.context.new_cdp_session(page)
    screenshot = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    content = base64.b64decode(screenshot["data"])
    session.detach()
    (FOLDER / f"{name}.webp").write_bytes(content)
    print(f"{len(content) / 1000:6.1f} kB  {name}", flush=True)


def check_sizes() -> None:
    sizes = {file.name: file.stat().st_size for file in FOLDER.glob("*.webp")}
    large = [name for name, size in sizes.items() if size > MAX_BYTES]
    total = sum(sizes.values())
    print(f"{len(sizes)} screenshots, {total / 1000:.0f} kB")
    if large or total > MAX_TOTAL_BYTES:
        sys.exit(f"Too large: {', '.join(large) or 'the total'}; lower QUALITY.")


if __name__ == "__main__":
    main()
