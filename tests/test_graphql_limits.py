"""What an anonymous document may cost: its fields are counted before validation, and the values of its response."""

import time
from collections.abc import Callable

import pytest

from predictd.api.asgi import build_schema
from predictd.api.graphql import query_limits
from predictd.api.graphql.endpoint import Endpoint

# Twice the size at which validation took 1.6 s, so that what grows with the square of it takes 6 s.
SIZE = 16_000
MOST_SECONDS = 2.0
NUMBERS = range(10_000)


def filled(start: str, part: Callable[[int], str], end: str) -> str:
    """The parts, as many as fit."""
    text = start
    for number in NUMBERS:
        added = part(number)
        if len(text) + len(added) + len(end) > SIZE:
            break
        text += added
    return text + end


def spreading(count: int, on: str, fields: str, start: str) -> str:
    """Fragments each of which spreads all later ones."""
    fragments = [
        f"fragment F{number} on {on}{{{fields} " + " ".join(f"...F{later}" for later in range(number + 1, count)) + "}"
        for number in range(count)
    ]
    return start + " ".join(fragments)


HOSTILE = {
    "one field": filled("{", lambda _: " account{id}", "}"),
    "one field with many inside": "{" + filled("", lambda _: "account{models{id id id} models{name name}}", "}"),
    "one field within one field": filled("{account{models{", lambda _: " id", "}}}"),
    "through fragments": spreading(60, "Query", "account{id}", "{...F0}"),
    "through fragments below": spreading(60, "Account", "id models{id}", "{account{...F0}}"),
    "fragments in a circle": "{...F ...F}" + filled("fragment F on Query{", lambda _: "...F ", "}"),
    "operations": filled("", lambda n: f"query Q{n}{{...F}}", "fragment F on Query{account{id}}"),
    "variables": filled("query(", lambda n: f"$a{n}:ID ", "){account{id}}"),
    "arguments": filled("{a:model(", lambda n: f"x{n}:1 ", "){id}}"),
    "unknown fields": filled("{", lambda n: f" latest_submission_scores_{n}", "}"),
    "inline fragments": filled("{", lambda _: "...on Query{account{id}}", "}"),
    "nested inline fragments": "{" + "...{" * 3000 + "id" + "}" * 3000 + "}",
    "directives": filled("{account", lambda _: "@skip(if:true)", "{id}}"),
    "values": filled("{rounds(tournament:{", lambda n: f"a{n}:1 ", "}){id}}"),
    "roots": filled("{", lambda n: f" a{n}:v2Leaderboard{{username}}", "}"),
    "the schema under aliases": filled("{", lambda n: f" a{n}:__schema{{types{{fields{{args{{name}}}}}}}}", "}"),
    "the schema with aliases": filled("{__schema{types{fields{", lambda n: f" a{n}:args{{name}}", "}}}}"),
    "the schema of the schema": "{__schema{types{fields{type{fields{type{fields{name}}}}}}}}",
}


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint(build_schema())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_costs_little_and_is_refused(endpoint: Endpoint, name: str) -> None:
    began = time.thread_time()
    answer = endpoint.execute({"query": HOSTILE[name]}, None)
    assert time.thread_time() - began < MOST_SECONDS
    assert answer["data"] is None
    assert len(str(answer["errors"])) < 100_000


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("mutation {" + " ".join(f"a{n}: addModel(name: \"m\", tournament: 8) {{ id }}" for n in range(11)) + "}",
         "The request has 11 mutations; the limit is 10. Send several smaller requests."),
        ("mutation M { ...F b: triggerModelWebhook(modelId: 2) } "
         "fragment F on Mutation { a: triggerModelWebhook(modelId: 1) }",
         "The request has 2 times triggerModelWebhook; the limit is 1."),
        ("{" + "account{id}" * 11 + "}", "selects 'account' more than 10 times at one place"),
        ("{" + " ".join(f"a{n}: account {{ id }}" for n in range(21)) + "}",
         "has 21 fields at its root; the limit is 20"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_limit(endpoint: Endpoint, query: str, message: str) -> None:
    [error] = endpoint.execute({"query": query}, None)["errors"]
    assert message in error["message"]


def test_a_response_has_a_limited_number_of_values(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_limits, "MAX_VALUES", 50)
    [error] = endpoint.execute({"query": "{ __schema { types { name } } }"}, None)["errors"]
    assert "more than" in error["message"]
    assert endpoint.execute({"query": "{ __schema { queryType { name } } }"}, None).keys() == {"data"}
