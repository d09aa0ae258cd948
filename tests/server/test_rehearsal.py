"""The rehearsal of an upgrade: every pickle that is assigned on one runtime, in another one."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from conftest import ROOT, RUNTIMES, Server, User
from predictd.runtimes import load

# Models without byte code, so that every Python can load them. `Later` is decided where the pickle is loaded.
PLAIN_MODELS = """
import pathlib, pickle, sys
import pandas as pd
from sklearn.preprocessing import FunctionTransformer

class Later:
    def __reduce__(self):
        return eval, ("__import__('sys').version_info[:2] == (%s, %s)" % sys.version_info[:2],)

for name, ascending in (("steady", True), ("turning", Later())):
    options = {"axis": 0, "numeric_only": True, "pct": True, "ascending": ascending}
    model = FunctionTransformer(pd.DataFrame.rank, kw_args=options).transform
    pathlib.Path(sys.argv[1], name + ".pkl").write_bytes(pickle.dumps(model))
"""


@pytest.fixture
def owned(new_server: Callable[..., Server]) -> Server:
    """A server of this test alone."""
    return new_server()


@pytest.fixture
def other_python(default_python: str) -> str:
    """The Python of a built runtime that is not the default."""
    found = next((one.paths.version for one in load(RUNTIMES) if str(one.executable) != default_python), None)
    if found is None:
        pytest.skip("this machine has one Python only")
    return found


def runtimes(server: Server) -> dict[str, dict[str, Any]]:
    """The core runtimes that are built, by Python version."""
    listed = json.loads(server.predictd("runtime", "list", "--json").stdout)
    return {one["name"].split()[1]: one for one in listed if one["built"]}


def everything(user: User) -> Any:
    query = """{ computePickles { id validationStatus assignedModelSlots triggers { id status } }
        submissions { id selected } }"""
    return user.ask(query)


def test_the_rehearsal_tells_what_breaks_what_moves_and_what_stays(
    owned: Server, other_python: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    owned.predictd("runtime", "build", other_python)
    old = runtimes(owned)[other_python]
    [new_python] = runtimes(owned).keys() - {other_python}
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run([old["python"], "-c", PLAIN_MODELS, str(folder)], check=True)
    subprocess.run([old["python"], str(ROOT / "tests" / "make_pickles.py"), str(folder), "good"], check=True)
    user = owned.user("alice")
    owned.open_round()
    uploaded = {}
    for name in ("steady", "turning", "good"):
        model_id = user.add_model(name)
        uploaded[name] = user.upload((folder / f"{name}.pkl").read_bytes(), model_id, image=old["id"])
    for pickle_id in uploaded.values():
        assert user.wait(pickle_id)["validationStatus"] == "validated"
    before = everything(user)

    done = owned.predictd("runtime", "upgrade-check", other_python, new_python, "--json", check=False)

    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["a"]["tag"], report["b"]["image"]) == (old["tag"], runtimes(owned)[new_python]["image"])
    assert report["summary"] | {"pickles": 3, "breaks": 1, "moves": 1, "same": 1, "fails": 0} == report["summary"]
    found = {one["models"][0]: one for one in report["pickles"]}
    assert {name: one["id"] for name, one in found.items()} == uploaded

    assert found["good"]["verdict"] == "breaks"
    assert (found["good"]["a"]["code"], found["good"]["b"]["code"]) == ("success", "python_mismatch")
    assert f"Python {other_python}" in found["good"]["b"]["message"]

    assert found["steady"]["movement"]["changed"] == found["steady"]["movement"]["max_difference"] == 0
    assert found["steady"]["movement"]["spearman"] == pytest.approx(1)
    turned = found["turning"]["movement"]
    assert turned["spearman"] == turned["pearson"] == pytest.approx(-1)
    assert turned["changed"] > 0.5
    assert 0 < turned["mean_difference"] <= turned["max_difference"] <= 1
    assert all(one[side]["seconds"] > 0 for one in report["pickles"] for side in ("a", "b"))
    assert everything(user) == before, "a rehearsal changes nothing"

    [model_id] = user.pickle(uploaded["good"])["assignedModelSlots"]
    user.ask("mutation($m: String) { assignPickleToModel(modelId: $m, pickleId: null) }", m=model_id)
    for_people = owned.predictd("runtime", "upgrade-check", old["tag"], new_python)
    assert "2 pickles: 0 break, 1 change, 1 are unchanged" in for_people.stderr
    assert "turning" in for_people.stdout
    assert "good" not in for_people.stdout

    nothing = owned.predictd("runtime", "upgrade-check", new_python, old["image"])
    assert f"A has no assigned pickles. Runtimes with assigned pickles: Python {other_python}" in nothing.stderr


def test_a_rehearsal_with_an_unknown_runtime_names_those_that_there_are(server: Server) -> None:
    done = server.predictd("runtime", "upgrade-check", "nonsense", "3.12", check=False)
    assert (done.returncode, "available: Python 3." in done.stderr) == (1, True)
