"""The documentation says what the code says."""

import re
import sys

import pytest

from browsing import page_paths
from conftest import ROOT
from predictd.domain.failures import FAILURES, ModelFailure

sys.path.insert(0, str(ROOT / "scripts"))
from pages import PAGES
from screenshots import FOLDER, slug


@pytest.mark.parametrize("filename", PAGES)
def test_a_page_that_comes_from_the_code_is_up_to_date(filename: str) -> None:
    assert (ROOT / filename).read_text() == PAGES[filename](), "run: python scripts/pages.py"


def test_there_is_a_picture_of_every_page() -> None:
    missing = [path for path in page_paths() if not (FOLDER / f"{slug(path)}.webp").exists()]
    assert missing == [], "run: make screenshots"


def test_the_skill_can_be_installed_and_names_failures_that_there_are() -> None:
    """Installers read the front matter: the folder's name and a description of at most 1,024 characters."""
    path = ROOT / "skills" / "model-upload" / "SKILL.md"
    _, front, body = path.read_text().split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert fields["name"] == path.parent.name
    assert 0 < len(fields["description"]) <= 1024
    table = body.partition("| code | most often |")[2]
    codes = re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line[:3] == "| `"))
    assert len(codes) > 10
    assert set(codes) <= set(FAILURES)


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_is_one_bounded_line_whatever_a_model_put_into_it(code: str) -> None:
    class Hostile(dict[str, str]):
        def __missing__(self, key: str) -> str:
            return "{0.__class__} %s \x1b[31m\n" * 500

    names = {one[1] for text in (FAILURES[code].sentence, FAILURES[code].remedy) for one in _fields(text)}
    text = ModelFailure(code=code, facts={name: Hostile()[name] for name in names}).describe()
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 3000


def _fields(template: str) -> list[tuple[str, str]]:
    from string import Formatter

    return [(literal, name) for literal, name, _, _ in Formatter().parse(template) if name]
