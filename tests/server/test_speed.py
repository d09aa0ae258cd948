"""What makes later runs of a pickle faster changes nothing in what they answer."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Server, User

BOOSTED = """
import sys, cloudpickle, lightgbm, numpy as np
rng = np.random.default_rng(1)
x = rng.integers(0, 5, (2000, 8)).astype(np.float32)
model = lightgbm.LGBMRegressor(n_estimators=60, num_leaves=15, verbose=-1, n_jobs=1).fit(x, x[:, 0] * x[:, 1] + x[:, 2])

def predict(live_features):
    names = [name for name in live_features.columns if name.startswith("feature")][:8]
    raw = model.predict(live_features[names].fillna(2).astype("int8"))
    return live_features[[]].assign(prediction=0.1 + 0.8 * (raw - raw.min()) / (raw.max() - raw.min()))

sys.stdout.buffer.write(cloudpickle.dumps(predict))
"""


@pytest.fixture(scope="module")
def boosted(default_python: str) -> bytes:
    return subprocess.run([default_python, "-c", BOOSTED], stdout=subprocess.PIPE, check=True).stdout


def csv_of(user: User, model_id: str, server: Server) -> str:
    """The file of the model's selected submission."""
    [selected] = [one for one in user.submissions(model_id) if one["selected"]]
    [file] = (server.home / "storage" / "predictions").glob(f"{selected['triggerId']}*")
    return file.read_text()


def test_compiled_trees_are_kept_and_neither_they_nor_damage_to_them_change_an_answer(
    new_server: Callable[..., Server], boosted: bytes, tmp_path: Path
) -> None:
    server = new_server()
    user = server.user("alice")
    model_id = user.add_model("boosted")
    number = server.open_round()
    pickle_id = user.upload(boosted, model_id)
    assert user.wait(pickle_id)["triggers"][0]["status"] == "submission_succeeded"
    first = csv_of(user, model_id, server)
    [kept] = (server.home / "storage" / "tables" / pickle_id).iterdir()
    whole = kept.read_bytes()

    def again(runs: int) -> str:
        user.ask("mutation($p: ID) { triggerComputePickleUpload(pickleId: $p) { id } }", p=pickle_id)
        assert user.wait(pickle_id, runs=runs)["triggers"][0]["status"] == "submission_succeeded"
        return csv_of(user, model_id, server)

    assert again(2) == first
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    kept.unlink()
    kept.write_bytes(damaged)
    assert again(3) == first
    assert "tables_damaged" in server.log
    assert kept.read_bytes() == whole

    (tmp_path / "model.pkl").write_bytes(boosted)
    live = server.home / "storage" / "rounds" / "v5.3" / str(number) / "live.parquet"
    for trees in ("0", "1"):
        server.environment["PREDICTD_TREES"] = trees
        out = tmp_path / trees
        out.mkdir()
        server.predictd("run", "--model", str(tmp_path / "model.pkl"), "--dataset", str(live), "--output_dir", str(out))
        [made] = out.iterdir()
        assert made.read_text() == first
