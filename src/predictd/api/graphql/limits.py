"""How deep and how costly a document may be."""

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
)

MAX_DEPTH = 16
MAX_FIELDS = 2000


def check_limits(document: DocumentNode) -> GraphQLError | None:
    """An error when an operation nests deeper than `MAX_DEPTH` or selects more than `MAX_FIELDS` fields.

    Fields count as often as their fragments are spread. The document is valid: fragments exist and have no cycles.
    """
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    measured: dict[str, tuple[int, int]] = {}

    def measure(selected: SelectionSetNode | None) -> tuple[int, int]:
        depth = count = 0
        for node in selected.selections if selected else ():
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in measured:
                    measured[name] = measure(fragments[name].selection_set)
                inner_depth, inner_count = measured[name]
            else:
                own = 1 if isinstance(node, FieldNode) else 0
                inner_depth, inner_count = measure(getattr(node, "selection_set", None))
                inner_depth, inner_count = inner_depth + own, inner_count + own
            depth, count = max(depth, inner_depth), count + inner_count
        return depth, count

    for operation in document.definitions:
        if isinstance(operation, OperationDefinitionNode):
            depth, count = measure(operation.selection_set)
            if depth > MAX_DEPTH:
                return GraphQLError(f"The query is {depth} levels deep; at most {MAX_DEPTH} are answered.")
            if count > MAX_FIELDS:
                return GraphQLError(f"The query selects {count} fields; at most {MAX_FIELDS} are answered.")
    return None
