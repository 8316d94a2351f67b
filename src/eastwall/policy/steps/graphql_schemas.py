"""Variables of GraphQL requests, held against the types that are known of them.

A document says itself what it asks for, and its server holds it against its own schema. Beside it stand the variables, whose types a document may
state wider than the field that takes them does (`JSON`, `String`), and of which nothing is known where none is declared. So only types are held
against them: which variables a document has, and which of them it needs, is its author's choice.
"""

from __future__ import annotations

from eastwall.discovery.body_schemas import MessageSchema, Violation
from eastwall.model.operation import Operation

VARIABLES = "variables"


def variable_violations(schema: MessageSchema, operation: Operation) -> list[Violation]:
    """Variables of another type than the schema says.

    A learned schema knows them by the names that callers gave them. A declared one knows arguments: of it those count that are given to an
    argument of the root field under the argument's own name.
    """
    body = operation.body
    variables = body.get(VARIABLES) if isinstance(body, dict) else None
    if not isinstance(variables, dict) or not variables:
        return []
    if schema.exact:
        root = operation.name.partition(" ")[2]
        given = {one.name for one in operation.arguments if one.variable and one.value == one.name and one.field == root}
        variables = {name: value for name, value in variables.items() if name in given}
    found = schema.violations({VARIABLES: variables})
    return [one for one in found if one.aspect == "types" and one.place.startswith(VARIABLES + ".")]
