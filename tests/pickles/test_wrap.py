"""`predictd.wrap` makes pickles that answer where predictd is not, as the model itself does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, RUNTIMES
from predictd.pickles.compatibility import certain_failures, choose_python
from predictd.pickles.formatting import Level
from predictd.pickles.inspection import inspect_pickle
from predictd.pickles.runtime_target import target_of_built
from predictd.pickles.static_checks import check_inspected
from predictd.runtimes import BuiltRuntime, load

INSIDE = Path(__file__).with_name("wrap_inside.py")


@pytest.fixture(scope="module")
def runtime() -> BuiltRuntime:
    found = [one for one in load(RUNTIMES) if "full" not in one.image_name]
    if not found:
        pytest.skip("no runtime is built")
    return found[-1]


def ask(runtime: BuiltRuntime, what: str, folder: Path, **environment: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [runtime.executable, INSIDE, what, folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        env={**kept, **environment},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def wrapped(runtime: BuiltRuntime, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of wrapped models, and what went wrong while they were made."""
    folder = tmp_path_factory.mktemp("wrapped")
    return folder, ask(runtime, "wrap", folder, PYTHONPATH=str(ROOT / "src"))


def test_models_are_wrapped_with_the_options_of_the_trade(wrapped: tuple[Path, dict[str, str]]) -> None:
    assert wrapped[1] == {}, "\n".join(wrapped[1].values())


def test_the_pickles_answer_where_predictd_is_not(runtime: BuiltRuntime, wrapped: tuple[Path, dict[str, str]]) -> None:
    failures = ask(runtime, "load", wrapped[0])
    assert len(list(wrapped[0].glob("*.pkl"))) >= 19
    assert failures == {}, "\n".join(failures.values())


def test_check_has_nothing_to_say_and_reads_the_manifest(
    runtime: BuiltRuntime, wrapped: tuple[Path, dict[str, str]]
) -> None:
    target = target_of_built(runtime)
    for path in wrapped[0].glob("*.pkl"):
        inspection = inspect_pickle(path)
        assert [one for one in check_inspected(inspection, target) if one.level is not Level.PASS] == []
        assert certain_failures(inspection, target) == []
        assert choose_python(inspection, ["3.10", target.python]) == target.python
        assert inspection.manifest is not None
        assert inspection.manifest["python"].startswith(f"{target.python}.")
        assert inspection.features == tuple(inspection.manifest["features"])
    manifest = inspect_pickle(wrapped[0] / "blended.pkl").manifest
    assert manifest is not None
    assert manifest["packages"]["lightgbm"] == target.version_of("lightgbm")
    assert len(manifest["features_sha256"]) == 64
    assert inspect_pickle(wrapped[0] / "own.pkl").by_value == ("my_package.inner",)


def test_networks_of_torch_become_arrays() -> None:
    torch = pytest.importorskip("torch")
    import predictd
    from predictd.pickles.adapters import member_of
    from predictd.pickles.numpy_export import CannotExportError

    nn = torch.nn
    frame = pytest.importorskip("pandas").DataFrame(torch.randint(0, 5, (50, 10)).numpy())
    activations = [
        nn.ReLU(), nn.LeakyReLU(0.2), nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.Tanh(), nn.Sigmoid(),
        nn.Softplus(2.0, 5.0), nn.ELU(0.7), nn.Identity(),
    ]  # fmt: skip
    for activation in activations:
        inner = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 16, bias=False), activation, nn.Dropout(0.5))
        model = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 32), activation, inner, nn.Linear(16, 1))
        for _ in range(10):
            model(torch.randn(64, 10) * 2 + 2)
        found = member_of(model, "numpy")(frame, None, None)
        assert abs(found - member_of(model, None)(frame, None, None)).max() < 1e-5, activation
    with pytest.raises(CannotExportError, match=r"model\.0 is a Conv1d, which has no counterpart"):
        predictd.wrap(nn.Sequential(nn.Conv1d(1, 1, 3)), features=["a"], export="numpy")


def test_importing_predictd_stays_light() -> None:
    code = "import sys, predictd; print({'numpy', 'cloudpickle', 'pyarrow', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
