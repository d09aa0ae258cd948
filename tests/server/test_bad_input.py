"""Every way of getting it wrong has its own clear answer, and nothing that is stored is lost."""

import subprocess
from collections.abc import Callable

import pytest
import requests

from conftest import RUNTIMES, GraphQLErrors, Server, User


@pytest.fixture(scope="module")
def endings(server: Server, pickles: dict[str, bytes], other_python_pickle: bytes | None) -> dict[str, dict[str, str]]:
    """How each bad pickle ended: all are uploaded together, then waited for."""
    user = server.user("breaker")
    bad = {name: pickles[name] for name in EXPECTED if name in pickles}
    bad["no_pickle"] = b"PK\x03\x04 this is a zip, not a pickle"
    bad["truncated"] = pickles["good"][:-100]
    if other_python_pickle is not None:
        bad["other_python"] = other_python_pickle
    # Named, because a pickle of another Python would get the runtime of its own where there is one.
    images = user.ask("{ computePickleDockerImages { id default } }")["computePickleDockerImages"]
    image = next(one["id"] for one in images if one["default"])
    uploaded = {name: user.upload(content, image=image) for name, content in bad.items()}
    ended = {}
    for name, pickle_id in uploaded.items():
        pickle = user.wait(pickle_id, seconds=240)
        [run] = pickle["triggers"]
        ended[name] = {
            "validation": pickle["validationStatus"],
            "status": run["status"],
            "description": run["statuses"][-1]["description"],
            "log": "\n".join(user.logs(run["id"])),
        }
    return ended


EXPECTED = {
    "no_pickle": "The file is not a pickle",
    "truncated": "The pickle ends in the middle",
    "needs_a_missing_module": "needs a module that the runtime does not have: a_module_of_my_own",
    "other_python": "The pickle was made by Python 3.",
    "three_arguments": "must take one or two arguments",
    "returns_a_series": "must return a pandas DataFrame, but it returned",
    "returns_nan": "predictions are NaN or infinite",
    "returns_two": "predictions are not within 0 to 1",
    "is_constant": "All predictions are the same (0.5)",
    "has_wrong_ids": "ids are not among the",
    "drops_rows": "7 of",
    "raises": "The model raised KeyError: 'feature_that_was_renamed'",
    "loops_for_ever": "Timeout: the model had not ended after 45 seconds; it was at the stage 'predict'",
    "takes_8_gb": "Out of memory: the model needed more than 4096 MiB",
    "opens_a_socket": "The model tried to use the network",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bad_pickle_fails_with_a_reason_to_act_on(endings: dict[str, dict[str, str]], name: str) -> None:
    if name not in endings:
        pytest.skip("this machine has one Python only")
    ended = endings[name]
    assert EXPECTED[name] in ended["description"]
    assert (ended["validation"], ended["status"]) == ("invalid", "model_failed")
    assert "/root" not in ended["log"]


def test_the_log_of_an_exception_shows_the_frames_of_the_user(endings: dict[str, dict[str, str]]) -> None:
    log = endings["raises"]["log"]
    assert "about to raise" in log
    assert "model_raises" in log
    assert "predictd_runner" not in log


def test_a_file_of_another_account_is_as_unknown_as_one_that_never_was(
    server: Server, user: User, pickles: dict[str, bytes]
) -> None:
    owner = server.user("owner_of_a_file")
    filename = owner.put_pickle(pickles["good"])
    messages = []
    for name in (filename, "model-AAAAAAAAAAAA.pkl"):
        with pytest.raises(GraphQLErrors, match="Unknown filename") as caught:
            user.register(name)
        messages.append(str(caught.value).replace(name, "NAME"))
    assert messages[0] == messages[1]
    assert owner.register(filename)


def test_a_file_is_registered_once(user: User, pickles: dict[str, bytes]) -> None:
    filename = user.put_pickle(pickles["good"])
    pickle_id = user.register(filename)
    with pytest.raises(GraphQLErrors, match="already registered"):
        user.register(filename)
    assert user.wait(pickle_id)["validationStatus"] == "validated"


def test_bytes_that_never_arrived_are_asked_for(user: User) -> None:
    auth = user.ask("query { computePickleUploadAuth { filename } }")["computePickleUploadAuth"]
    with pytest.raises(GraphQLErrors, match="No bytes were received"):
        user.register(auth["filename"])


def test_what_is_registered_no_longer_changes(user: User, pickles: dict[str, bytes]) -> None:
    auth = user.ask("query { computePickleUploadAuth { filename url } }")["computePickleUploadAuth"]
    requests.put(auth["url"], data=pickles["good"], timeout=60)
    pickle_id = user.register(auth["filename"])
    requests.put(auth["url"], data=b"something else", timeout=60)
    assert user.wait(pickle_id)["validationStatus"] == "validated"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('mutation { addModel(name: "Taken", tournament: 8) { id } }', "already taken"),
        ('mutation { addModel(name: "no spaces", tournament: 8) { id } }', "use 1 to 20 letters"),
        ('mutation { addModel(name: "signals", tournament: 11) { id } }', "Tournament 11 does not exist here"),
        ('query { computePickleUploadAuth(filename: "model.joblib") { url } }', "must end in .pkl"),
        ("query { rounds(tournament: 8, number: 9999) { nothing } }", "nothing"),
        ('mutation { triggerComputePickleUpload(pickleId: "x") { id } }', "Pickle 'x' not found"),
        ('query { dataset(filename: "v5.3/../../predictd.db") }', "not found"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(user: User, query: str, message: str) -> None:
    if "Taken" in query:
        user.add_model("taken")
    with pytest.raises(GraphQLErrors, match=message):
        user.ask(query)


def test_a_webhook_and_a_pickle_exclude_each_other(user: User, pickles: dict[str, bytes]) -> None:
    model_id = user.add_model(f"hook{user.username[-10:]}")
    hook = "mutation($m: String, $u: String) { setSubmissionWebhook(modelId: $m, newSubmissionWebhook: $u) }"
    user.ask(hook, m=model_id, u="https://example.com/hook")
    with pytest.raises(GraphQLErrors, match="Remove the webhook first"):
        user.upload(pickles["good"], model_id)
    user.ask(hook, m=model_id, u=None)
    user.wait(user.upload(pickles["good"], model_id))
    with pytest.raises(GraphQLErrors, match="Unassign the pickle first"):
        user.ask(hook, m=model_id, u="https://example.com/hook")
    with pytest.raises(GraphQLErrors, match="Unassign the pickle first"):
        user.ask(
            'query($m: ID) { submissionUploadAuth(filename: "p.csv", tournament: 8, modelId: $m) { url } }', m=model_id
        )


def test_a_pickle_that_can_work_nowhere_is_told_so_at_once(user: User, default_python: str) -> None:
    query = "query($id: ID) { computePickles(id: $id) { validationStatus triggers { id statuses { status } } } }"
    model = "import sys, cloudpickle; cloudpickle.dump({'weights': [1, 2]}, sys.stdout.buffer)"
    content = subprocess.run([default_python, "-c", model], check=True, capture_output=True).stdout
    for bad, says in ((b"this is no pickle", "not_a_pickle"), (content, "not_callable")):
        pickle_id = user.upload(bad)
        [pickle] = user.ask(query, id=pickle_id)["computePickles"]
        assert pickle["validationStatus"] == "invalid"
        [run] = pickle["triggers"]
        assert [status["status"] for status in run["statuses"]] == ["pending", "model_failed"]
        assert f"[predictd] {says}:" in user.logs(run["id"])[0]


def test_without_a_named_runtime_a_pickle_gets_that_of_its_own_python(
    new_server: Callable[..., Server], other_python_pickle: bytes | None, pickles: dict[str, bytes]
) -> None:
    if other_python_pickle is None:
        pytest.skip("this machine has one Python only")
    server = new_server()
    user = server.user("traveller")
    for python in ("3.11", "3.13", "3.10"):
        if f"numerai_predict_py_{python.replace('.', '_')}" in " ".join(one.name for one in RUNTIMES.iterdir()):
            server.predictd("runtime", "build", python)
    ended = {name: user.upload(one) for name, one in (("own", pickles["good"]), ("other", other_python_pickle))}
    for pickle_id in ended.values():
        assert user.wait(pickle_id)["validationStatus"] == "validated"
    query = "query($id: ID) { computePickles(id: $id) { runtime } }"
    chosen = [user.ask(query, id=one)["computePickles"][0]["runtime"] for one in ended.values()]
    assert len(set(chosen)) == 2
