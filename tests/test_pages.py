"""The documentation says what the code says."""

import sys

import pytest

from conftest import ROOT
from predictd.domain.failures import FAILURES, ModelFailure

sys.path.insert(0, str(ROOT / "scripts"))
from pages import PAGES


@pytest.mark.parametrize("filename", PAGES)
def test_a_page_that_comes_from_the_code_is_up_to_date(filename: str) -> None:
    assert (ROOT / "docs" / filename).read_text() == PAGES[filename](), "run: python scripts/pages.py"


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
