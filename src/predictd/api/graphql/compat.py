"""Compatibility with real clients: rewrites a parsed document before its validation, and relaxes one rule of it.

- A field or argument in another spelling than the schema's (`create_submission`, `return_13_weeks`) gets the schema's
  name; the answer's key stays the spelling that was sent.
- A variable takes the type of the argument that it is used for, whatever type it was declared with.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    ArgumentNode,
    DefinitionNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLID,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLType,
    InlineFragmentNode,
    ListValueNode,
    NameNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    TypeNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
    parse_type,
    print_ast,
    specified_rules,
)
from graphql.validation import ASTValidationRule, VariablesInAllowedPositionRule


def relax(document: DocumentNode, schema: GraphQLSchema) -> DocumentNode:
    """Return the document with the names and variable types of the schema; unknown names stay unchanged."""
    rewriter = _Rewriter(schema)
    definitions = [rewriter.rewrite(definition) for definition in document.definitions]
    return replace(document, definitions=tuple(rewriter.retype(definition) for definition in definitions))


def squash(name: str) -> str:
    """Return a name without case and underscores, so that `v2_round_details` equals `v2RoundDetails`."""
    return name.replace("_", "").lower()


@dataclass
class _Rewriter:
    schema: GraphQLSchema
    # By definition (an operation's index or a fragment's name): the types its variables are used as, the fragments it
    # spreads.
    _uses: dict[int, dict[str, GraphQLType]] = field(default_factory=dict)
    _spreads: dict[int, set[str]] = field(default_factory=dict)
    _fragments: dict[str, int] = field(default_factory=dict)
    _current: int = 0
    _keys: dict[int, int] = field(default_factory=dict)

    def rewrite(self, definition: DefinitionNode) -> DefinitionNode:
        """Return the definition with the names of the schema."""
        self._current += 1
        if isinstance(definition, OperationDefinitionNode):
            root: GraphQLNamedType | None = self.schema.get_root_type(definition.operation)
        elif isinstance(definition, FragmentDefinitionNode):
            root = self.schema.get_type(definition.type_condition.name.value)
            self._fragments[definition.name.value] = self._current
        else:
            return definition
        rewritten = replace(definition, selection_set=self._selections(definition.selection_set, root))
        self._keys[id(rewritten)] = self._current
        return rewritten

    def retype(self, definition: DefinitionNode) -> DefinitionNode:
        """Return the operation with variables typed as it and its fragments use them."""
        if not isinstance(definition, OperationDefinitionNode) or not definition.variable_definitions:
            return definition
        uses = self._all_uses(self._keys[id(definition)])
        variables = tuple(
            replace(
                variable, type=_strictest(variable.type, uses[variable.variable.name.value], variable.default_value)
            )
            if variable.variable.name.value in uses
            else variable
            for variable in definition.variable_definitions
        )
        return replace(definition, variable_definitions=variables)

    def _all_uses(self, key: int) -> dict[str, GraphQLType]:
        uses: dict[str, GraphQLType] = {}
        seen: set[int] = set()
        pending = [key]
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            for name, type_ in self._uses.get(current, {}).items():
                _merge(uses, name, type_)
            pending += [self._fragments[name] for name in self._spreads.get(current, ()) if name in self._fragments]
        return uses

    def _selections(self, selected: SelectionSetNode, parent: GraphQLNamedType | None) -> SelectionSetNode:
        return replace(selected, selections=tuple(self._selection(node, parent) for node in selected.selections))

    def _selection(self, node: SelectionNode, parent: GraphQLNamedType | None) -> SelectionNode:
        self._note_directives(node)
        if isinstance(node, FieldNode):
            return self._field(node, parent)
        if isinstance(node, InlineFragmentNode):
            condition = node.type_condition
            inner = self.schema.get_type(condition.name.value) if condition else parent
            return replace(node, selection_set=self._selections(node.selection_set, inner))
        if isinstance(node, FragmentSpreadNode):
            self._spreads.setdefault(self._current, set()).add(node.name.value)
        return node

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> FieldNode:
        fields = parent.fields if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else {}
        sent = node.name.value
        name = _find(sent, fields)
        definition: GraphQLField | None = fields.get(name)
        renamed = replace(node, name=NameNode(value=name)) if name != sent else node
        if name != sent and node.alias is None:
            renamed = replace(renamed, alias=NameNode(value=sent))
        schema_arguments = definition.args if definition else {}
        renamed = replace(
            renamed, arguments=tuple(self._argument(argument, schema_arguments) for argument in node.arguments or ())
        )
        if node.selection_set is None:
            return renamed
        inner = get_named_type(definition.type) if definition else None
        if sent in {"__schema", "__type"}:
            return renamed
        return replace(renamed, selection_set=self._selections(node.selection_set, inner))

    def _argument(self, node: ArgumentNode, schema_arguments: dict[str, GraphQLArgument]) -> ArgumentNode:
        name = _find(node.name.value, schema_arguments)
        argument = schema_arguments.get(name)
        if argument is not None:
            # A variable may be left out where the argument has a default, even if that allows no null.
            has_default = argument.default is not None or argument.default_value is not Undefined
            expected = argument.type.of_type if has_default and is_non_null_type(argument.type) else argument.type
            self._note(node.value, expected)
        return replace(node, name=NameNode(value=name)) if name != node.name.value else node

    def _note_directives(self, node: SelectionNode) -> None:
        for directive in node.directives or ():
            definition = self.schema.get_directive(directive.name.value)
            for argument in directive.arguments or ():
                schema_argument = definition.args.get(argument.name.value) if definition else None
                if schema_argument is not None:
                    self._note(argument.value, schema_argument.type)

    def _note(self, value: ValueNode, expected: GraphQLInputType) -> None:
        """Record the type that a variable is used as."""
        if isinstance(value, VariableNode):
            _merge(self._uses.setdefault(self._current, {}), value.name.value, expected)
        elif isinstance(value, ListValueNode):
            inner = get_nullable_type(expected)
            if is_list_type(inner):
                for item in value.values:
                    self._note(item, inner.of_type)


def _find(sent: str, names: dict[str, GraphQLField] | dict[str, GraphQLArgument]) -> str:
    """Return the name in the schema; the sent name if there is no match or more than one."""
    if sent in names or sent.startswith("__"):
        return sent
    matches = [name for name in names if squash(name) == squash(sent)]
    return matches[0] if len(matches) == 1 else sent


def _merge(uses: dict[str, GraphQLType], name: str, type_: GraphQLType) -> None:
    """Record the stricter of two types of a variable: the non-null one, and ID rather than String."""
    current = uses.get(name)
    if current is None or (is_non_null_type(type_) and get_nullable_type(type_) == current):
        uses[name] = type_
    elif {str(type_).rstrip("!"), str(current).rstrip("!")} == {"ID", "String"}:
        is_strict = is_non_null_type(type_) or is_non_null_type(current)
        uses[name] = GraphQLNonNull(GraphQLID) if is_strict else GraphQLID


def _strictest(declared: TypeNode, used_as: GraphQLType, default: object) -> TypeNode:
    """Return the type that the variable is used as; a declared `!` stays, so that validation is not relaxed."""
    node = parse_type(str(used_as))
    if isinstance(node, NonNullTypeNode) and default is not None:
        return node.type
    is_same = print_ast(declared).rstrip("!") == print_ast(node).rstrip("!")
    if isinstance(declared, NonNullTypeNode) and is_same:
        return declared
    return node


class VariablePositionsRule(VariablesInAllowedPositionRule):
    """Check that variables fit where they are used, but accept one that is an ID in one field and a String in another.

    `assignPickleToModel` takes as String the same model that `triggerComputePickleUpload` takes as ID.
    """

    def leave_operation_definition(self, operation: OperationDefinitionNode, *args: Any) -> None:
        """Check the variables of an operation."""
        used_as: dict[str, set[str]] = {}
        for usage in self.context.get_recursive_variable_usages(operation):
            used_as.setdefault(usage.node.name.value, set()).add(str(usage.type).rstrip("!"))
        for name, types in used_as.items():
            if types == {"ID", "String"}:
                self.var_def_map.pop(name, None)
        super().leave_operation_definition(operation, *args)


RULES: list[type[ASTValidationRule]] = [
    VariablePositionsRule if rule is VariablesInAllowedPositionRule else rule for rule in specified_rules
]
