"""Every model of `models/` is held, is explained in exact words, harms nothing, and leaves nothing to the next run."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import inside
import numpy as np
import pandas as pd
import pytest
from host import SECRET, Host, difference, prepared
from make import load
from ways import HERE, WAYS, Site, Way
from worker import digest

from predictd.domain.failures import FAILURES
from predictd.domain.runs import Predictions
from predictd.runtimes import find_interpreters
from test_sandbox import build_runtime

pytestmark = pytest.mark.slow
MODELS = sorted(path.stem for path in (HERE / "models").glob("*.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the pickles and the live data; as on a server, others can't look into what is above it."""
    folder = tmp_path_factory.mktemp("hostile") / "pickles"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """This machine, watched; its environment holds a secret, as a server's does."""
    os.environ["PREDICTD_TEST_SECRET"] = SECRET
    with prepared(tmp_path_factory.mktemp("host")) as host:
        yield host
    del os.environ["PREDICTD_TEST_SECRET"]


@pytest.fixture(scope="module")
def live(folder: Path) -> pd.DataFrame:
    ids = pd.Index([f"n{number:015x}" for number in range(2000)], name="id")
    live = pd.DataFrame({"era": "1200", "feature_a": np.arange(2000) % 5}, index=ids)
    live.to_parquet(folder / "live.parquet")
    # No mode protects it: what does must be the sandbox.
    (folder / "live.parquet").chmod(0o666)
    return live


@pytest.fixture(scope="module")
def site(folder: Path, host: Host, live: pd.DataFrame) -> Site:
    found = find_interpreters()
    runtime = build_runtime(next(one for one in ("3.12", "3.13", "3.11", "3.10") if one in found))
    facts = folder / "facts.json"
    facts.write_text(json.dumps({**host.facts, "pickles": str(folder)}))
    env = {"PYTHONPATH": str(runtime.packages), "LD_LIBRARY_PATH": str(runtime.prefix / "lib"), "LC_ALL": "C.UTF-8"}
    make = [str(runtime.python), "-B", str(HERE / "make.py"), str(facts), str(folder)]
    subprocess.run(make, check=True, env=env)
    facts.unlink()
    return Site(runtime=runtime, folder=folder)


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, site: Site) -> Iterator[Way]:
    with ExitStack() as stack:
        yield stack.enter_context(WAYS[request.param](site))


@pytest.fixture(scope="module")
def right(live: pd.DataFrame) -> str:
    """The digest of the right predictions."""
    return digest_of(inside.answer(live))


def digest_of(frame: pd.DataFrame) -> str:
    return digest(Predictions(ids=list(frame.index), values=frame.iloc[:, 0].to_numpy("float64")))


def expectation(model: Any, way: Way) -> dict[str, Any]:
    """What the file says must happen, with what differs in this way."""
    expected = {"CODE": model.CODE, "SAYS": model.SAYS}
    expected |= {trait: getattr(model, trait, None) for trait in ("CAUSE", "LOG")}
    for trait in sorted(way.traits):
        expected |= getattr(model, "OTHERWISE", {}).get(trait, {})
    return expected


def whole_message(code: str, cause: str | None, sentence: str) -> "re.Pattern[str]":
    """The sentence and the remedy of its cause, with `{number}` and `{text}` for what differs from run to run."""
    kinds = {"number": r"\d[\d.,]*", "text": r".+?"}
    parts = re.split(r"\{(\w+)\}", f"{sentence} {FAILURES[code].remedy_of(cause)}")
    return re.compile("".join(kinds.get(p, r".+?") if i % 2 else re.escape(p) for i, p in enumerate(parts)))


@pytest.mark.parametrize("name", MODELS)
def test_model_is_held_and_explained(name: str, way: Way, host: Host, live: pd.DataFrame, right: str) -> None:
    model = load(HERE / "models" / f"{name}.py")
    if getattr(model, "MACHINE", platform.machine()) != platform.machine():
        pytest.skip(f"is for {model.MACHINE}")
    expected = expectation(model, way)
    before = host.look()
    for _ in range(getattr(model, "RUNS", 1)):
        outcome = way.run(name, **getattr(model, "LIMITS", {}))
        told = f"{outcome.says}\n{outcome.log[-3000:]}"
        assert [line for line in outcome.log.splitlines() if line.startswith("open ")] == []
        assert outcome.code == expected["CODE"], told
        if outcome.code == "success":
            answer = model.expected(live) if hasattr(model, "expected") else None
            assert outcome.answer == (right if answer is None else digest_of(answer)), told
        else:
            assert outcome.says is not None
            assert whole_message(outcome.code, expected["CAUSE"], expected["SAYS"]).fullmatch(outcome.says), told
        if expected["LOG"] is not None:
            assert expected["LOG"] in outcome.log
        assert SECRET not in outcome.log
    assert difference(before, host) == {}
    # A container is new for each run; only what is made to outlive one is worth another.
    if "container" not in way.traits or hasattr(model, "RUNS"):
        after = way.run("good")
        assert (after.code, after.answer, after.log) == ("success", right, "")
        assert difference(before, host) == {}


def test_every_model_says_what_it_tries() -> None:
    for name in MODELS:
        model = load(HERE / "models" / f"{name}.py")
        assert model.__doc__, name
        assert model.CODE == "success" or model.CODE in FAILURES, name
        assert (model.SAYS is None) == (model.CODE == "success"), name
    assert len(MODELS) >= 50
