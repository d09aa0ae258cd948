"""The main job, as a user of numerapi and an organiser live it."""

import io
import time
from collections.abc import Callable

import pandas as pd
import pytest
import requests

from conftest import GraphQLErrors, Server, User


@pytest.fixture
def owned(new_server: Callable[..., Server]) -> Server:
    """A server of this test alone: it opens and closes rounds."""
    return new_server()


def test_an_uploaded_pickle_submits_at_once_and_again_when_the_next_round_opens(
    owned: Server, pickles: dict[str, bytes]
) -> None:
    user = owned.user("alice")
    model_id = user.add_model("trees")
    assert owned.open_round() == 1

    pickle_id = user.upload(pickles["good"], model_id)
    pickle = user.wait(pickle_id)

    assert pickle["validationStatus"] == "validated"
    assert pickle["assignedModelSlots"] == [model_id]
    [run] = pickle["triggers"]
    assert [status["status"] for status in run["statuses"]] == [
        "pending",
        "running",
        "validating",
        "submission_succeeded",
    ]
    assert "predicting" in user.logs(run["id"])[0]
    first = predictions(user, model_id)
    assert list(first["id"]) == live_ids(user, 1)
    assert first["prediction"].between(0, 1).all()

    assert owned.open_round() == 2
    pickle = user.wait(pickle_id, runs=2)
    assert pickle["triggers"][0]["type"] == "live"
    assert pickle["triggers"][0]["status"] == "submission_succeeded"
    second = predictions(user, model_id)
    assert list(second["id"]) == live_ids(user, 2)
    assert set(first["id"]).isdisjoint(second["id"])
    assert [(one["round"]["number"], one["selected"]) for one in user.submissions(model_id)] == [(2, True), (1, True)]


def test_without_an_open_round_the_pickle_is_validated_and_assigned_all_the_same(
    owned: Server, pickles: dict[str, bytes]
) -> None:
    user = owned.user("alice")
    model_id = user.add_model("early")
    pickle_id = user.upload(pickles["one_argument"], model_id)
    pickle = user.wait(pickle_id)
    assert pickle["validationStatus"] == "validated"
    assert pickle["assignedModelSlots"] == [model_id]
    assert pickle["triggers"][0]["statuses"][-1]["description"] == "No currently open rounds!"
    assert user.submissions(model_id) == []

    user.ask("mutation($p: ID) { triggerComputePickleUpload(pickleId: $p) { id } }", p=pickle_id)
    assert user.pickle(pickle_id)["triggers"][0]["statuses"][-1]["description"] == "No currently open rounds!"

    owned.open_round()
    assert user.wait(pickle_id, runs=3)["triggers"][0]["status"] == "submission_succeeded"


def test_an_invalid_pickle_leaves_the_slot_as_it_was(owned: Server, pickles: dict[str, bytes]) -> None:
    user = owned.user("alice")
    model_id = user.add_model("steady")
    owned.open_round()
    good = user.upload(pickles["good"], model_id)
    user.wait(good)
    bad = user.upload(pickles["raises"], model_id)
    assert user.wait(bad)["validationStatus"] == "invalid"
    assert user.pickle(good)["assignedModelSlots"] == [model_id]
    with pytest.raises(GraphQLErrors, match="it is invalid, not validated"):
        user.ask("mutation($m: String, $p: ID) { assignPickleToModel(modelId: $m, pickleId: $p) }", m=model_id, p=bad)


def test_one_pickle_serves_several_models_with_one_run(owned: Server, pickles: dict[str, bytes]) -> None:
    user = owned.user("alice")
    first, second = user.add_model("first"), user.add_model("second")
    pickle_id = user.upload(pickles["good"])
    assert user.wait(pickle_id)["assignedModelSlots"] == []
    assign = "mutation($m: String, $p: ID) { assignPickleToModel(modelId: $m, pickleId: $p) }"
    for model_id in (first, second):
        assert user.ask(assign, m=model_id, p=pickle_id)["assignPickleToModel"] == "true"
    owned.open_round()
    pickle = user.wait(pickle_id, runs=2)
    assert len(pickle["triggers"]) == 2
    for model_id in (first, second):
        [submission] = user.submissions(model_id)
        assert submission["triggerId"] == pickle["triggers"][0]["id"]

    assert user.ask(assign, m=second, p=None)["assignPickleToModel"] == "true"
    assert user.pickle(pickle_id)["assignedModelSlots"] == [first]


def test_logs_are_there_while_the_model_runs(server: Server, user: User, pickles: dict[str, bytes]) -> None:
    pickle_id = user.upload(pickles["slow"])
    deadline = time.monotonic() + 60
    while True:
        pickle = user.pickle(pickle_id)
        lines = user.logs(pickle["triggers"][0]["id"])
        if lines or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert lines[0] == "second 0"
    assert user.pickle(pickle_id)["triggerStatus"] == "running"
    run = user.wait(pickle_id)["triggers"][0]
    assert user.logs(run["id"]) == [f"second {number}" for number in range(8)]


def test_a_run_that_ends_after_the_close_is_late_and_counts_for_no_other_round(
    owned: Server, pickles: dict[str, bytes]
) -> None:
    user = owned.user("alice")
    model_id = user.add_model("tardy")
    owned.open_round()
    pickle_id = user.upload(pickles["slow"], model_id)
    while user.pickle(pickle_id)["triggerStatus"] != "running":
        time.sleep(0.1)
    owned.close_round()
    run = user.wait(pickle_id)["triggers"][0]
    assert "is late and is queued for the next round" in run["statuses"][-1]["description"]
    [late] = user.submissions(model_id)
    assert (late["status"], late["selected"]) == ("late", False)
    latest = user.ask("query($m: ID) { model(modelId: $m) { latestSubmissions { status roundNumber } } }", m=model_id)
    assert latest["model"]["latestSubmissions"] == [{"status": "queued", "roundNumber": 1}]

    owned.open_round()
    user.wait(pickle_id, runs=2)
    on_time, late = user.submissions(model_id)
    assert (on_time["status"], on_time["selected"], on_time["round"]["number"]) == ("on_time", True, 2)
    assert "round 2 was run by the assigned pickle instead" in late["notes"]


def test_uploaded_predictions_replace_each_other_until_the_close(owned: Server) -> None:
    user = owned.user("alice")
    model_id = user.add_model("by_hand")
    owned.open_round()
    ids = live_ids(user, 1)
    for shift in (0, 1):
        submit(user, model_id, pd.DataFrame({"id": ids, "prediction": [(i + shift) / 9999 for i in range(len(ids))]}))
    assert [one["selected"] for one in user.submissions(model_id)] == [True, False]
    with pytest.raises(GraphQLErrors, match=r"1 of \d+ live ids have no prediction"):
        submit(user, model_id, pd.DataFrame({"id": ids[1:], "prediction": [i / 9999 for i in range(len(ids) - 1)]}))
    owned.close_round()
    submit(user, model_id, pd.DataFrame({"id": ids, "prediction": [i / 99999 for i in range(len(ids))]}))
    late, selected, _ = user.submissions(model_id)
    assert (late["status"], late["selected"], selected["selected"]) == ("late", False, True)
    owned.open_round()
    assert "its ids are not those of round 2" in user.submissions(model_id)[0]["notes"]


def submit(user: User, model_id: str, frame: pd.DataFrame) -> None:
    auth = user.ask(
        'query($m: ID) { submissionUploadAuth(filename: "p.csv", tournament: 8, modelId: $m) { filename url } }',
        m=model_id,
    )["submissionUploadAuth"]
    assert requests.put(auth["url"], data=frame.to_csv(index=False).encode(), timeout=60).status_code == 200
    query = "mutation($f: String!, $m: ID) { createSubmission(filename: $f, tournament: 8, modelId: $m) { id } }"
    user.ask(query, f=auth["filename"], m=model_id)


def predictions(user: User, model_id: str) -> pd.DataFrame:
    newest = user.submissions(model_id)[0]["id"]
    url = user.ask("query($id: ID!) { submissionDownloadAuth(id: $id) { url } }", id=newest)
    return pd.read_csv(io.BytesIO(requests.get(url["submissionDownloadAuth"]["url"], timeout=60).content))


def live_ids(user: User, round_number: int) -> list[str]:
    url = user.ask('query($r: Int) { dataset(filename: "v5.3/live.parquet", round: $r) }', r=round_number)["dataset"]
    live = pd.read_parquet(io.BytesIO(requests.get(url, timeout=60).content), columns=["era"])
    return list(live.index)
