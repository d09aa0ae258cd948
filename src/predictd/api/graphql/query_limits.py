"""Limits of the depth and cost of a document, checked before validation, which compares fields with each other."""

from collections.abc import Iterable, Iterator
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
)
from graphql.execution import Executor

MAX_DEPTH = 16
MAX_FIELDS = 2000
MAX_MUTATIONS = 10
MAX_ROOT_FIELDS = 20
MAX_OPERATIONS = 10
MAX_FRAGMENTS = 50
MAX_VARIABLES = 100
# How often a key may be selected at one place. Validation compares each pair of them.
MAX_REPEATED = 10
MAX_VALUES = 250_000
# Slow root fields and the number of concurrent requests of each. Passwords, pickles, and submissions use the CPU; a
# webhook does not, and has a stricter limit of its own.
SLOW_FIELDS = {
    "triggerModelWebhook": 32,
    "createComputePickleUpload": 4,
    "createSubmission": 4,
    "login": 6,
    "createUser": 6,
    "createApiToken": 6,
}
# Fields that take seconds; a request can have one of each.
_ONCE = ("triggerModelWebhook", "createComputePickleUpload", "createSubmission")
_INTROSPECTION = ("__schema", "__type")
_INTROSPECTION_LISTS = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})


def check_limits(document: DocumentNode) -> GraphQLError | None:
    """Return an error if a document is over one of the limits.

    A fragment counts as often as it is spread. The document may be invalid: unknown fragments and cycles do not count.

    Raises:
        RecursionError: the document is nested too deeply.
    """
    try:
        _Measure(document).check()
    except GraphQLError as error:
        return error
    return None


def root_fields(document: DocumentNode) -> set[str]:
    """Return the names of the fields of the root that a valid document selects in any operation."""
    measure = _Measure(document)
    return {field.name.value for operation in measure.operations for field in measure.fields([operation.selection_set])}


class _Measure:
    def __init__(self, document: DocumentNode) -> None:
        definitions = document.definitions
        self.operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
        self._definitions = [node for node in definitions if isinstance(node, FragmentDefinitionNode)]
        self._fragments = {fragment.name.value: fragment for fragment in self._definitions}
        self._measured: dict[str, tuple[int, int]] = {}

    def check(self) -> None:
        """Raise GraphQLError for the first limit that is exceeded."""
        _limit(len(self.operations), MAX_OPERATIONS, "The document has {} operations")
        _limit(len(self._definitions), MAX_FRAGMENTS, "The document has {} fragments")
        for operation in self.operations:
            _limit(len(operation.variable_definitions or ()), MAX_VARIABLES, "The query has {} variables")
        for definition in (*self.operations, *self._definitions):
            depth, count = self._size(definition.selection_set)
            _limit(depth, MAX_DEPTH, "The query is {} levels deep")
            _limit(count, MAX_FIELDS, "The query selects {} fields and fragments")
            self._check_repeated([definition.selection_set])
        for operation in self.operations:
            self._check_root(operation)

    def _size(self, selected: SelectionSetNode | None) -> tuple[int, int]:
        """Return the depth in fields and the number of fields and fragments; no fragment is visited twice."""
        depth = count = 0
        for node in selected.selections if selected else ():
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in self._measured:
                    # For cycles, until the fragment is measured.
                    self._measured[name] = 0, 0
                    fragment = self._fragments.get(name)
                    self._measured[name] = self._size(fragment.selection_set if fragment else None)
                inner_depth, inner_count = self._measured[name]
            else:
                inner_depth, inner_count = self._size(getattr(node, "selection_set", None))
                inner_depth += isinstance(node, FieldNode)
            depth, count = max(depth, inner_depth), count + inner_count + 1
        return depth, count

    def fields(self, selected: Iterable[SelectionSetNode | None]) -> Iterator[FieldNode]:
        """Return the fields at one place, through fragments, each fragment once for each spread."""
        for selection_set in selected:
            yield from self._fields_in(selection_set, frozenset())

    def _fields_in(self, selected: SelectionSetNode | None, within: frozenset[str]) -> Iterator[FieldNode]:
        for node in selected.selections if selected else ():
            if isinstance(node, FieldNode):
                yield node
                continue
            inside = self._spread(node, within)
            yield from self._fields_in(*inside)

    def _spread(self, node: SelectionNode, within: frozenset[str]) -> tuple[SelectionSetNode | None, frozenset[str]]:
        if not isinstance(node, FragmentSpreadNode):
            return getattr(node, "selection_set", None), within
        name = node.name.value
        fragment = self._fragments.get(name) if name not in within else None
        return (fragment.selection_set if fragment else None), within | {name}

    def _check_repeated(self, selected: list[SelectionSetNode]) -> None:
        keys: dict[str, list[FieldNode]] = {}
        for node in self.fields(selected):
            fields = keys.setdefault((node.alias or node.name).value, [])
            fields.append(node)
            if len(fields) > MAX_REPEATED:
                raise _limit_error(
                    f"The query selects {node.name.value[:64]!r} more than {MAX_REPEATED} times at one place"
                )
        for fields in keys.values():
            if inner := [node.selection_set for node in fields if node.selection_set]:
                self._check_repeated(inner)

    def _check_root(self, operation: OperationDefinitionNode) -> None:
        fields = list(self.fields([operation.selection_set]))
        names = [node.name.value for node in fields]
        if operation.operation is OperationType.MUTATION:
            _limit(len(names), MAX_MUTATIONS, "The request has {} mutations")
        else:
            _limit(len(names), MAX_ROOT_FIELDS, "The query has {} fields at its root")
        for name in _ONCE:
            _limit(names.count(name), 1, f"The request has {{}} times {name}")
        for node in fields:
            if node.name.value in _INTROSPECTION:
                if node.name.value == "__schema" and node.alias:
                    raise _limit_error("The query gives __schema an alias")
                self._check_introspection([node.selection_set], has_list=False)

    def _check_introspection(self, selected: list[SelectionSetNode | None], *, has_list: bool) -> None:
        """Reject aliases and nested lists, so that the largest introspection query is that of the usual tools."""
        for node in self.fields(selected):
            name = node.name.value
            if node.alias is not None:
                raise _limit_error(f"The query of the schema has the alias {node.alias.value[:64]!r}")
            if has_list and name in _INTROSPECTION_LISTS:
                raise _limit_error(f"The query of the schema selects {name} within another list")
            self._check_introspection([node.selection_set], has_list=has_list or name in _INTROSPECTION_LISTS)


def _limit(count: int, limit: int, message: str) -> None:
    if count > limit:
        raise _limit_error(message.format(count), f"the limit is {limit}")


def _limit_error(message: str, limit: str = "this is not supported") -> GraphQLError:
    return GraphQLError(f"{message}; {limit}. Send several smaller requests.")


class TooManyValuesError(BaseException):
    """The response has more than `MAX_VALUES` values. A BaseException, so that it ends the execution."""


class BoundedExecutor(Executor[Any]):
    """Executes a document as long as its response has at most `MAX_VALUES` values."""

    _values = 0

    def execute_field(self, *arguments: Any, **named: Any) -> Any:
        """Resolve one field.

        Raises:
            TooManyValuesError: the response has more than `MAX_VALUES` values.
        """
        self._values += 1
        if self._values > MAX_VALUES:
            raise TooManyValuesError
        return super().execute_field(*arguments, **named)
