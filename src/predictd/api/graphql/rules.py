"""The rules of validation: the specification's, with one concession that our own schema makes necessary."""

from typing import Any

from graphql import OperationDefinitionNode, specified_rules
from graphql.validation import ASTValidationRule, VariablesInAllowedPositionRule


class VariablePositionsRule(VariablesInAllowedPositionRule):
    """Variables fit where they are used; one that is the ID of one field may be the String of another.

    `assignPickleToModel` takes as String the same model that `triggerComputePickleUpload` takes as ID.
    """

    def leave_operation_definition(self, operation: OperationDefinitionNode, *args: Any) -> None:
        """Check the variables of one operation."""
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
