"""Who may do what: tokens, scopes, and other people's objects."""

import json

import pytest
import requests

from conftest import GraphQLErrors, Server, User

SESSION = "Your session is invalid or has expired."


def test_a_token_is_needed_where_it_is_and_nowhere_else(server: Server) -> None:
    nobody = User(server.address, "nobody", "NONE", "NONE")
    with pytest.raises(GraphQLErrors, match=SESSION):
        nobody.ask("{ account { id } }")
    assert nobody.ask("{ listDatasets computePickleDockerImages { name } tournaments { name } }")["listDatasets"]


def test_a_revoked_token_is_no_token(server: Server, user: User) -> None:
    listed = json.loads(server.predictd("token", "list", user.username, "--json").stdout)
    assert [one["public_id"] for one in listed] == [user.public_id]
    assert "secret" not in json.dumps(listed)
    assert user.ask("{ account { username } }")["account"]["username"] == user.username
    server.predictd("token", "revoke", user.public_id)
    with pytest.raises(GraphQLErrors, match=SESSION):
        user.ask("{ account { username } }")


def test_a_token_does_only_what_its_scopes_allow(server: Server, user: User) -> None:
    arguments = ("token", "create", user.username, "--scope", "read_user_info", "--json")
    token = json.loads(server.predictd(*arguments).stdout)
    reader = User(server.address, user.username, token["public_id"], token["secret_key"])
    assert reader.ask("{ apiTokenInfo { scopes } account { username } }")["apiTokenInfo"]["scopes"] == [
        "read_user_info"
    ]
    for query, scope in {
        "{ computePickleUploadAuth { url } }": "upload_submission",
        'mutation { addModel(name: "x", tournament: 8) { id } }': "upload_submission",
        'query { submissionDownloadAuth(id: "x") { url } }': "download_submission",
        "{ computePickles { id } }": "read_submission_info",
    }.items():
        with pytest.raises(GraphQLErrors, match=scope):
            reader.ask(query)


def test_the_token_is_read_as_clients_write_it(user: User) -> None:
    token = f"{user.public_id}${user.secret_key}"
    for header in (f"Token {token}", f"Token Token {token}", f"token  {token}"):
        answer = requests.post(
            f"{user.address}/graphql",
            json={"query": "{ account { username } }"},
            headers={"Authorization": header},
            timeout=10,
        )
        assert answer.json() == {"data": {"account": {"username": user.username}}}


def test_an_object_of_another_account_is_as_unknown_as_none(
    server: Server, user: User, pickles: dict[str, bytes]
) -> None:
    owner = server.user("owner_of_all")
    model_id = owner.add_model("owned_model")
    pickle_id = owner.upload(pickles["one_argument"], model_id)
    run_id = owner.wait(pickle_id)["triggers"][0]["id"]
    own_model = user.add_model(f"m{user.username[-12:]}")
    unknown = "00000000-0000-4000-8000-000000000000"
    for query in (
        "query($x: ID) { model(modelId: $x) { id } }",
        "query($x: ID) { computePickles(id: $x) { id } }",
        "query($x: ID) { computePickles(modelId: $x) { id } }",
        "query($x: ID) { submissions(modelId: $x) { id } }",
        "query($x: ID!) { triggerLogs(triggerId: $x) { message } }",
        "query($x: ID!) { diagnosticsTriggerLogs(pickleId: $x) { message } }",
        "query($x: ID!) { computePickleDownloadAuth(modelId: $x) { url } }",
        "query($x: ID) { computePickleUploadAuth(modelId: $x) { url } }",
        'mutation($x: ID!) { renameModel(modelId: $x, name: "stolen") { id } }',
        "mutation($x: ID!) { archiveModel(modelId: $x) { id } }",
        "mutation($x: ID) { triggerComputePickleUpload(pickleId: $x) { id } }",
        'mutation($x: ID!) { updatePickleLabel(pickleId: $x, label: "stolen") { id } }',
        "mutation($x: ID) { assignPickleToModel(modelId: $x, pickleId: null) }",
        f'mutation($x: ID) {{ assignPickleToModel(modelId: "{own_model}", pickleId: $x) }}',
    ):
        theirs = model_id if "odelId: $x" in query else run_id if "triggerId" in query else pickle_id
        assert answer(user, query, theirs) == answer(user, query, unknown), query
    assert owner.pickle(pickle_id)["assignedModelSlots"] == [model_id]


def answer(user: User, query: str, value: str) -> str:
    """The whole answer, with the id that was asked for left out."""
    response = requests.post(
        user.address, json={"query": query, "variables": {"x": value}}, headers=user.headers, timeout=10
    )
    return response.text.replace(value, "ID")
