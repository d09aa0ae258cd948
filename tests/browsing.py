"""A browser on a server with accounts that have passwords: the fixtures of the tests of pages."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from conftest import PREDICTD, Server, User

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PASSWORD = "four words in a row"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make_account(server: Server, name: str, password: str = PASSWORD) -> User:
    """An account with that password, given on standard input; and as its owner uses it with a token."""
    done = subprocess.run(
        [PREDICTD, "account", "create", name, "--password", "--json"],
        input=f"{password}\n",
        env=server.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return User(server.address, **json.loads(done.stdout))


def page_paths() -> list[str]:
    """The paths of all pages, as their routes have them."""
    from types import SimpleNamespace

    from predictd.settings import Settings
    from predictd.web import routes

    return routes.page_paths(SimpleNamespace(settings=Settings()))  # type: ignore[arg-type]


@dataclass
class Visitor:
    """Somebody with a browser that runs no scripts."""

    address: str
    client: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, **options: object) -> requests.Response:
        return self.client.get(f"{self.address}{path}", timeout=30, **options)  # type: ignore[arg-type]

    def csrf(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path).text)
        assert found is not None, path
        return found[1]

    def send(self, path: str, page: str, **fields: str) -> requests.Response:
        """Fill in the form of the page."""
        data = {"csrf": self.csrf(page), **fields}
        return self.client.post(f"{self.address}{path}", data=data, timeout=30)

    def sign_in(self, name: str, password: str = PASSWORD) -> requests.Response:
        return self.send("/signin", "/signin", name=name, password=password)


@pytest.fixture
def visitor(server: Server) -> Visitor:
    return Visitor(server.address)


@pytest.fixture
def name(server: Server, request: pytest.FixtureRequest) -> str:
    """The name of a new account."""
    chosen = f"web_{abs(hash(request.node.nodeid)) % 10**12}_{os.getpid()}"[:40]
    make_account(server, chosen)
    return chosen


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    opened = browser.new_context(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


@pytest.fixture
def page(context: "BrowserContext") -> "Iterator[Page]":
    """A page on which no script fails and nothing is blocked."""
    complaints: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    yield opened
    # What a page answers with an error status is on the console too, and meant.
    assert [one for one in complaints if "Failed to load resource" not in one] == []


@pytest.fixture(scope="session")
def audit() -> "Callable[[Page], None]":
    """Fails if axe-core finds anything wrong with the page, or if it is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()

    def check(page: "Page") -> None:
        page.wait_for_load_state()
        found = axe.run(page).response["violations"]
        told = [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
        assert told == [], page.url
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{page.url} is too wide"

    return check


@pytest.fixture(scope="session")
def pickle_files(pickles: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a model of `make_pickles.py`."""
    folder = tmp_path_factory.mktemp("files")

    def write(wanted: str) -> Path:
        path = folder / f"{wanted}.pkl"
        path.write_bytes(pickles[wanted])
        return path

    return write
