"""Enum types and sequences, which Alembic's autogenerate leaves out.

A type is made and dropped by statements of its own, and columns refer to it by name: left
to `create_table`, it would be made twice where two tables have it, and outlive a downgrade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alembic.operations.ops import (
    AddColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    ExecuteSQLOp,
    MigrateOperation,
    MigrationScript,
    OpContainer,
)
from sqlalchemy import Column, Connection, Enum, MetaData, inspect, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.dialects.postgresql.named_types import CreateEnumType, DropEnumType
from sqlalchemy.schema import CreateSequence, DDLElement, DropSequence

from orgtenancy.modules import OrganizationModule

Labels = Mapping[str, Sequence[str]]

_dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


def render_enum(kind: str, item: Any, autogen_context: Any) -> str | bool:
    """Render an enum column's type by its name, or return False for anything else."""
    if kind != "type" or not _is_named(item):
        return False
    autogen_context.imports.add("from sqlalchemy.dialects import postgresql")
    labels = ", ".join(repr(label) for label in item.enums)
    return f"postgresql.ENUM({labels}, name={item.name!r}, create_type=False)"


def add_named_objects(
    connection: Connection, module: OrganizationModule, script: MigrationScript
) -> None:
    """Add to a generated revision what makes, extends and drops types and sequences.

    A value is added in the revision's transaction, where nothing can use it yet. A value that
    the models lost stays: PostgreSQL drops none. A type is dropped with its last column.

    Args:
        connection: In the reference schema.
        module: The module.
        script: What was generated.
    """
    inspector: Any = inspect(connection)
    schema = connection.dialect.default_schema_name
    there = {enum["name"]: enum["labels"] for enum in inspector.get_enums(schema=schema)}
    wanted = enums_of(module.metadata)
    up, down = script.upgrade_ops, script.downgrade_ops
    if up is None or down is None:
        return
    for name in sorted(wanted.keys() - there.keys()):
        _frame(up, first=_create_type(name, wanted[name]))
        _frame(down, last=_drop_type(name))
    for name in sorted(wanted.keys() & there.keys()):
        for statement in _add_values(name, there[name], wanted[name]):
            _frame(up, first=statement)
    for name in sorted((_enums_of_dropped(up) & there.keys()) - wanted.keys()):
        _frame(up, last=_drop_type(name))
        _frame(down, first=_create_type(name, there[name]))
    known = set(inspector.get_sequence_names(schema=schema))
    for sequence in sorted(module.metadata._sequences.values(), key=lambda one: one.name):
        if sequence.name not in known and not sequence.optional:
            _frame(up, first=_text(CreateSequence(sequence)))
            _frame(down, last=_text(DropSequence(sequence)))


def enums_of(metadata: MetaData) -> dict[str, Sequence[str]]:
    """Return the enum types of a module's tables, with their values in order."""
    found = [enum for table in metadata.tables.values() for enum in _enums_in(table.columns)]
    return {str(enum.name): list(enum.enums) for enum in found}


def _enums_in(columns: Any) -> Iterator[Enum]:
    for column in columns:
        if isinstance(column, Column):
            kind: Any = column.type
            if isinstance(kind, types.ARRAY):
                kind = kind.item_type
            if _is_named(kind):
                yield kind


def _is_named(kind: Any) -> bool:
    return isinstance(kind, Enum) and kind.native_enum and bool(kind.name)


def _enums_of_dropped(operation: MigrateOperation) -> set[str]:
    if isinstance(operation, OpContainer):
        return set().union(*(_enums_of_dropped(one) for one in operation.ops))
    if isinstance(operation, DropTableOp | DropColumnOp):
        back = operation.reverse()
        if isinstance(back, CreateTableOp):
            return {str(enum.name) for enum in _enums_in(back.columns)}
        if isinstance(back, AddColumnOp):
            return {str(enum.name) for enum in _enums_in([back.column])}
    return set()


def _add_values(name: str, there: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Yield the statements that add values, last one first: each goes in front of the others."""
    statements = []
    for index, label in enumerate(wanted):
        if label in there:
            continue
        if index:
            place = f" AFTER {_literal(wanted[index - 1])}"
        else:
            place = f" BEFORE {_literal(there[0])}" if there else ""
        # After a downgrade the value is still there.
        statements.append(
            f"ALTER TYPE {_quoted(name)} ADD VALUE IF NOT EXISTS {_literal(label)}{place}"
        )
    yield from reversed(statements)


def _create_type(name: str, labels: Sequence[str]) -> str:
    return _text(CreateEnumType(ENUM(*labels, name=name)))


def _drop_type(name: str) -> str:
    return _text(DropEnumType(ENUM(name=name)))


def _frame(operations: OpContainer, *, first: str | None = None, last: str | None = None) -> None:
    if first is not None:
        operations.ops.insert(0, _execute(first))
    if last is not None:
        operations.ops.append(_execute(last))


def _execute(statement: str) -> ExecuteSQLOp:
    # A colon would begin a parameter.
    return ExecuteSQLOp(statement.replace(":", "\\:"))


def _text(element: DDLElement) -> str:
    return str(element.compile(dialect=_dialect)).strip()


def _quoted(name: str) -> str:
    return str(_dialect.identifier_preparer.quote(name))


def _literal(label: str) -> str:
    return "'" + label.replace("'", "''") + "'"
