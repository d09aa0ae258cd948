"""What real clients send is answered; every other rule of GraphQL stays on."""

import inspect
from pathlib import Path
from typing import Any

import numerapi
import pytest
from graphql import (
    DocumentNode,
    GraphQLSchema,
    OperationDefinitionNode,
    build_client_schema,
    build_schema,
    get_introspection_query,
    print_ast,
)

from predictd.api.asgi import EXTENSIONS_PATH, SCHEMA_PATH
from predictd.api.asgi import build_schema as served_schema
from predictd.api.graphql.endpoint import Endpoint, prepare

HAS_NO_MONEY = "This server does not support stakes, wallets, or payouts"


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    with open(SCHEMA_PATH) as file:
        return build_schema(file.read())


def prepared(schema: GraphQLSchema, query: str) -> str:
    document = prepare(schema, query)
    assert isinstance(document, DocumentNode), document
    return " ".join(print_ast(document).split())


def refusal(schema: GraphQLSchema, query: str) -> str:
    errors = prepare(schema, query)
    assert isinstance(errors, list), print_ast(errors)
    return errors[0].message


class Recorder(numerapi.NumerAPI):
    """Records the documents of the client instead of sending them."""

    def __init__(self) -> None:
        super().__init__("PUBLIC", "SECRET", verbosity="CRITICAL")
        self.documents: list[str] = []

    def raw_query(self, query: str, *_: Any, **__: Any) -> Any:
        self.documents.append(query)
        raise InterruptedError


def documents_of_numerapi() -> list[tuple[str, str]]:
    """The first document that each public method sends."""
    found = []
    for name, method in inspect.getmembers(Recorder, inspect.isfunction):
        if name.startswith("_") or name in {"raw_query", "set_global_data_dir"}:
            continue
        recorder = Recorder()
        needed = [one for one in inspect.signature(method).parameters.values() if one.default is one.empty][1:]
        arguments: list[Any] = ["live.parquet" for _ in needed]
        named = {"df": numerapi.base_api.pd.DataFrame()} if "df" in inspect.signature(method).parameters else {}
        if name == "model_upload":
            named = {"data_version": "v5.3"}
        try:
            method(recorder, *arguments, **named)
        except Exception:  # noqa: BLE001 (how the method takes the lack of an answer is its own matter)
            found += [(name, document) for document in recorder.documents]
    return found


DOCUMENTS = documents_of_numerapi()


@pytest.mark.parametrize(("method", "document"), DOCUMENTS, ids=[name for name, _ in DOCUMENTS])
def test_a_document_of_numerapi_is_valid_or_about_money(schema: GraphQLSchema, method: str, document: str) -> None:
    answer = prepare(schema, document)
    if isinstance(answer, list):
        assert answer[0].message.startswith(HAS_NO_MONEY), answer
        assert any(word in method for word in ("stake", "wallet", "payout"))


def test_numerapi_sends_documents_at_all() -> None:
    assert len(DOCUMENTS) > 30


@pytest.mark.parametrize(
    ("sent", "valid"),
    [
        (
            "query($modelId: String) { computePickleUploadAuth(modelId: $modelId) {url} }",
            "query ($modelId: ID) { computePickleUploadAuth(modelId: $modelId) { url } }",
        ),
        (
            "query($username: Str!) { v3UserProfile(model_name: $username) { id } }",
            "query ($username: String!) { v3UserProfile(modelName: $username) { id } }",
        ),
        (
            "query { account { apiTokens { public_id } } }",
            "{ account { apiTokens { public_id: publicId } } }",
        ),
        (
            "query { v2Leaderboard { return_13_weeks } }",
            "{ v2Leaderboard { return_13_weeks: return13Weeks } }",
        ),
        (
            "mutation($f: String) { create_submission(filename: $f, tournament: 8) { id } }",
            "mutation ($f: String!) { create_submission: createSubmission(filename: $f, tournament: 8) { id } }",
        ),
        (
            "query($u: bool!) { computePickles(unassigned: $u) { ...Names } } "
            "fragment Names on ComputePickleUpload { data_version }",
            "query ($u: Boolean) { computePickles(unassigned: $u) { ...Names } } "
            "fragment Names on ComputePickleUpload { data_version: dataVersion }",
        ),
        (
            "query Q($m: Str) { ...F } fragment F on Query { model(model_id: $m) { mine: latest_submission { id } } }",
            "query Q($m: ID) { ...F } fragment F on Query { model(modelId: $m) { mine: latestSubmission { id } } }",
        ),
    ],
)
def test_what_clients_send_is_rewritten_to_what_is_valid(schema: GraphQLSchema, sent: str, valid: str) -> None:
    assert prepared(schema, sent) == valid


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ("query { account { nothing } }", "Cannot query field 'nothing' on type 'Account'"),
        ("query { account }", "must have a selection of subfields"),
        ("query($a: Int) { account { id } }", "Variable '$a' is never used"),
        ("query { model(modelId: $m) { id } }", "Variable '$m' is not defined"),
        ("query { rounds(tournament: [8]) { id } }", "Int cannot represent"),
        ("query { account { id }", "Syntax Error"),
        ("fragment F on Account { ...F } query { account { ...F } }", "Cannot spread fragment"),
        ("query { wallet { balance } }", HAS_NO_MONEY),
        ("query { " + " ".join(f"a{i}: tournaments {{ id }}" for i in range(1200)) + " }", "selects 2400 fields"),
    ],
)
def test_what_is_wrong_stays_wrong(schema: GraphQLSchema, sent: str, message: str) -> None:
    assert message in refusal(schema, sent)


def test_fragments_that_multiply_are_refused_fast(schema: GraphQLSchema) -> None:
    fragments = "".join(f"fragment F{i} on Account {{ ...F{i + 1} ...F{i + 1} }} " for i in range(40))
    query = fragments + "fragment F40 on Account { id } query { account { ...F0 } }"
    assert "the limit is 2000" in refusal(schema, query)


def test_depth_is_limited(schema: GraphQLSchema) -> None:
    query = "query { account { " + "models { computePickleUpload { triggers { id } } }" + " } }"
    assert prepared(schema, query)
    deep = "tb200Diagnostics { " * 20 + "id" + " }" * 20
    assert "levels deep" in refusal(schema, f"query {{ diagnostics {{ {deep} }} }}")


def test_the_served_schema_is_the_contract_name_by_name(schema: GraphQLSchema) -> None:
    def names(of: GraphQLSchema) -> dict[str, dict[str, object]]:
        return {
            name: {
                field: (str(one.type), {key: str(argument.type) for key, argument in one.args.items()})
                for field, one in type_.fields.items()
            }
            for name, type_ in of.type_map.items()
            if hasattr(type_, "interfaces") and not name.startswith("__")
        }

    served = served_schema()
    for name, fields in names(schema).items():
        assert names(served)[name].items() >= fields.items()
    # Beside the contract there is what the extensions say, and nothing else.
    extensions = [path.read_text() for path in sorted(Path(EXTENSIONS_PATH).glob("*.graphql"))]
    contract = Path(SCHEMA_PATH).read_text()
    assert names(served) == names(build_schema("\n".join([contract, *extensions])))
    for root in (served.query_type, served.mutation_type):
        assert root is not None
        unresolved = [name for name, field in root.fields.items() if field.resolve is None]
        assert unresolved == []


@pytest.mark.parametrize(
    "body", [[], "text", {"query": 1}, {"query": "{ tournaments { id } }", "variables": "{"}, None]
)
def test_a_body_that_is_no_request_is_an_error(body: object) -> None:
    answer = Endpoint(served_schema()).execute(body, None)
    assert answer["data"] is None
    assert answer["errors"][0]["message"]


def test_an_error_of_ours_is_not_shown_in_its_details() -> None:
    answer = Endpoint(served_schema()).execute({"query": "{ account { id } }"}, context=None)
    assert answer["data"] == {"account": None}
    assert [error["message"] for error in answer["errors"]] == ["Internal server error."]


def test_operations_are_found_by_name(schema: GraphQLSchema) -> None:
    document = prepare(
        schema, "query A($t: Str) { rounds(target: $t) { id } } query B($t: Str!) { accountNameAvailable(name: $t) }"
    )
    assert isinstance(document, DocumentNode)
    types = [
        print_ast(one.variable_definitions[0].type)
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode) and one.variable_definitions
    ]
    assert types == ["String", "String!"]


def test_tools_may_read_the_schema(schema: GraphQLSchema) -> None:
    query = get_introspection_query(
        specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
    )
    answer = Endpoint(served_schema()).execute({"query": query}, None)
    assert "errors" not in answer
    told = set(build_client_schema(answer["data"]).type_map)
    assert told == set(served_schema().type_map)
    assert told >= set(schema.type_map)


def test_one_variable_may_be_an_id_here_and_a_string_there(schema: GraphQLSchema) -> None:
    both = "assignPickleToModel(modelId: $m) triggerComputePickleUpload(modelId: $m) { id }"
    assert prepared(schema, f"mutation($m: String) {{ {both} }}").startswith("mutation ($m: ID)")
    third = 'archiveModel(modelId: $m) { id } addModel(name: "a", tournament: $m) { id }'
    assert "used in position expecting type" in refusal(schema, f"mutation($m: String) {{ {both} {third} }}")
