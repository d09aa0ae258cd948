"""Everything that can be asked of the GraphQL, made from the schema: each field with each of its references."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_required_argument,
)

# Arguments that name an object, and the kind of object that they name.
REFERENCES = {
    "id": "",
    "modelId": "model",
    "pickleId": "pickle",
    "triggerId": "trigger",
    "v2DiagnosticsIds": "diagnostics",
    "publicId": "token",
    "dockerImageId": "",
    "dataVersionId": "",
    "webhookId": "webhook",
}
# What a filename of these names is one that was given out; elsewhere it is the client's wish.
REGISTERING = ("createComputePickleUpload", "createDiagnostics", "createSubmission")
# Other arguments, with what they are given; None leaves them out. An argument that is in neither has no case yet.
FILLED: dict[str, Any] = {
    "filename": "mine.pkl",
    "tournament": 8,
    "name": "x",
    "value": "x",
    "linkUrl": "https://example.org",
    "label": "x",
    "username": "nobody_of_that_name",
    "modelName": "no_such_model",
    "roundNumber": 1,
    "password": "none",
    "email": "none",
    "captcha": "none",
    "scopes": [],
    "events": [],
    "url": "https://example.org/hook",
    "fallback": False,
    "newSubmissionWebhook": None,
    **dict.fromkeys(
        (
            *("limit", "offset", "orderBy", "direction", "filterBy", "deprecated", "unassigned", "round", "number"),
            *("status", "target", "date", "displayName", "version", "day", "resolved", "lastNRounds", "attempt"),
            *("distinctOnRound", "resolvedOnly", "resolvedWithinLastNDays", "roundDataDatestampGte", "roundNumberEq"),
            *("roundNumberGte", "roundNumberLte", "scoredWithinLastNDays", "submittedOnly", "acceptedTos", "code"),
            *("modelUploadReceipt", "pickleRoundOpen", "pickleRoundStatus", "diagnostics", "submission", "roundOpen"),
            *("linkText", "source", "triggerValidation", "dataDatestamp"),
        ),
        None,
    ),
}
# Whose answers are everybody's, by the kinds of objects that they tell of: scores are public by design.
PUBLIC = {
    "submissionScores": {"model"},
    "v2RoundModelPerformances": {"model"},
    "userScores": {"model"},
}
# A reference that takes the place of the others, which are not looked at then.
INSTEAD = {"triggerComputePickleUpload": "pickleId"}


@dataclass(frozen=True)
class Operation:
    """One field with one of its references to be tried, and what its other arguments are."""

    kind: str
    field: str
    reference: str
    is_list: bool
    others: dict[str, Any]
    declared: str
    passed: str
    selection: str

    def document(self, values: list[str]) -> tuple[str, dict[str, Any]]:
        """A document that asks for each value by itself, under the names a0, a1 and so on, and its variables."""
        kind = self.declared.partition(": ")[2].partition(",")[0]
        declared = ", ".join([*(f"$v{number}: {kind}" for number in range(len(values))), *self._own_declared()])
        parts = [
            f"a{number}: {self.field}({self.passed.replace(f'${self.reference}', f'$v{number}')}) {self.selection}"
            for number in range(len(values))
        ]
        given = {f"v{number}": [value] if self.is_list else value for number, value in enumerate(values)}
        return f"{self.kind}({declared}) {{ {' '.join(parts)} }}", {**self.others, **given}

    def _own_declared(self) -> list[str]:
        return [one for one in self.declared.split(", ")[1:] if one]

    def __str__(self) -> str:
        others = ", ".join(f"{name}: {value}" for name, value in self.others.items())
        return f"{self.field}({self.reference}: …{', ' if others else ''}{others})"


def unknown_arguments(schema: GraphQLSchema) -> list[str]:
    """Arguments of which nobody has said yet what they are."""
    return sorted(
        f"{name}({argument})"
        for _, name, field in _fields(schema)
        for argument in field.args
        if argument not in REFERENCES and argument not in FILLED
    )


def operations(schema: GraphQLSchema, own: dict[str, str]) -> Iterator[Operation]:
    """Every field with every reference of its, with the others left out and with the asking account's own in them."""
    for kind, name, field in _fields(schema):
        for reference in _references(name, field):
            seen = []
            for with_own in (False, True):
                others = _others(name, field, reference, own, with_own=with_own)
                if others not in seen:
                    seen.append(others)
                    is_list = is_list_type(_nullable(field.args[reference]))
                    arguments = [reference, *others]
                    declared, passed = _declared(field, arguments), _passed(arguments)
                    selection = _selection(get_named_type(field.type), 2)
                    yield Operation(kind, name, reference, is_list, others, declared, passed, selection)


def without_references(schema: GraphQLSchema) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, document and variables of every query that names no object, and tells what there is."""
    for kind, name, field in _fields(schema):
        if kind == "query" and not _references(name, field):
            others = _others(name, field, "", {}, with_own=False)
            yield name, _document(kind, name, field, list(others)), others


def _fields(schema: GraphQLSchema) -> Iterator[tuple[str, str, GraphQLField]]:
    for kind, root in (("query", schema.query_type), ("mutation", schema.mutation_type)):
        assert root is not None
        for name, field in root.fields.items():
            yield kind, name, field


def _references(name: str, field: GraphQLField) -> list[str]:
    found = [one for one in field.args if one in REFERENCES]
    return [*found, *(["filename"] if name in REGISTERING else [])]


def _others(name: str, field: GraphQLField, reference: str, own: dict[str, str], *, with_own: bool) -> dict[str, Any]:
    """What the other arguments are; those that name objects only if they must, or if wanted."""
    chosen: dict[str, Any] = {}
    for argument, described in field.args.items():
        if argument == reference:
            continue
        is_needed = is_required_argument(described)
        if argument in REFERENCES:
            value = own.get(REFERENCES[argument])
            if value is not None and (is_needed or (with_own and argument != INSTEAD.get(name))):
                chosen[argument] = [value] if is_list_type(_nullable(described)) else value
        elif name in REGISTERING and argument == "filename":
            chosen[argument] = "never-AAAAAAAAAAAA.pkl"
        elif FILLED.get(argument) is not None:
            chosen[argument] = FILLED[argument]
    return chosen


def _nullable(argument: GraphQLArgument) -> Any:
    return get_nullable_type(argument.type)


def _document(kind: str, name: str, field: GraphQLField, arguments: list[str]) -> str:
    around = (f"({_declared(field, arguments)})", f"({_passed(arguments)})") if arguments else ("", "")
    return f"{kind}{around[0]} {{ {name}{around[1]} {_selection(get_named_type(field.type), 3)} }}"


def _declared(field: GraphQLField, arguments: list[str]) -> str:
    return ", ".join(f"${one}: {field.args[one].type}" for one in arguments)


def _passed(arguments: list[str]) -> str:
    return ", ".join(f"{one}: ${one}" for one in arguments)


def _selection(kind: Any, depth: int) -> str:
    """All fields, as deep as that."""
    if not isinstance(kind, GraphQLObjectType):
        return ""
    chosen = []
    for name, field in kind.fields.items():
        inner = get_named_type(field.type)
        if field.args:
            continue
        if not isinstance(inner, GraphQLObjectType):
            chosen.append(name)
        elif depth > 1:
            chosen.append(f"{name} {_selection(inner, depth - 1)}")
    return f"{{ {' '.join(chosen)} }}"


def arguments_of(schema: GraphQLSchema) -> Iterator[tuple[str, str, GraphQLField, str]]:
    """Kind, name and field of everything that can be asked, with each of its arguments."""
    for kind, name, field in _fields(schema):
        for argument in field.args:
            yield kind, name, field, argument


def document_with(
    kind: str, name: str, field: GraphQLField, argument: str, own: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    """A document that asks for the field with that argument as a variable, and the variables of the others."""
    others = _others(name, field, argument, own, with_own=True)
    return _document(kind, name, field, [argument, *others]), others
