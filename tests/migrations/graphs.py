"""Random revision graphs of a few modules, and the plain Alembic way through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from hypothesis import strategies as st
from sqlalchemy import Connection, MetaData

from orgtenancy import OrganizationModule
from orgtenancy.schemas.revisions import script_directory

KINDS = ("sql", "sql", "sql", "online", "autocommit")

FILE = '''"""Revision {id}."""

import sqlalchemy as sa
from alembic import op

revision = {id!r}
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends!r}


def upgrade():
{before}
    op.create_table({id!r}, sa.Column("id", sa.Integer, primary_key=True))
{body}


def downgrade():
{down_body}
    op.drop_table({id!r})
'''

UP = {
    "sql": "    op.create_index('ix_{id}', '{id}', ['id'])",
    "online": "    op.get_bind().execute(sa.text('INSERT INTO {id} SELECT 1'))",
    "autocommit": "    with op.get_context().autocommit_block():\n"
    "        op.execute('CREATE INDEX CONCURRENTLY ix_{id} ON {id} (id)')",
}
DOWN = {
    "sql": "    op.drop_index('ix_{id}')",
    "online": "    op.get_bind().execute(sa.text('SELECT id FROM {id}')).all()",
    "autocommit": "    with op.get_context().autocommit_block():\n"
    "        op.execute('DROP INDEX CONCURRENTLY IF EXISTS ix_{id}')",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A revision: what it is made of is what a file of Alembic's says."""

    id: str
    module: str
    down: tuple[str, ...]
    depends: tuple[str, ...]
    kind: str

    def file(self) -> str:
        needs = [f"    op.execute('LOCK TABLE {one}')" for one in (*self.down, *self.depends)]
        return FILE.format(
            id=self.id,
            down=self.down if len(self.down) > 1 else next(iter(self.down), None),
            labels=None if self.down else (self.module,),
            depends=self.depends or None,
            before="\n".join(needs),
            body=UP[self.kind].format(id=self.id),
            down_body=DOWN[self.kind].format(id=self.id),
        )


@dataclass
class Graph:
    """Revisions in an order in which they may be written, and where to go in them."""

    nodes: list[Node] = field(default_factory=list)
    walk: list[tuple[str, str]] = field(default_factory=list)

    @property
    def modules(self) -> list[str]:
        return sorted({node.module for node in self.nodes})

    def heads(self, module: str) -> list[str]:
        own = [node for node in self.nodes if node.module == module]
        below = {one for node in own for one in node.down}
        return [node.id for node in own if node.id not in below]

    def write(self, folder: Path) -> list[OrganizationModule]:
        """Write the files, and return the modules."""
        made = []
        for module in self.modules:
            place = folder / module
            place.mkdir(parents=True)
            for node in self.nodes:
                if node.module == module:
                    (place / f"{node.id}.py").write_text(node.file())
            made.append(OrganizationModule(name=module, metadata=MetaData(), migrations=place))
        return made

    def __repr__(self) -> str:
        nodes = [f"{n.id}({n.kind}) <- {n.down} needs {n.depends}" for n in self.nodes]
        return "; ".join([*nodes, f"walk {self.walk}"])


@st.composite
def graphs(draw: st.DrawFn, *, kinds: Sequence[str] = KINDS, size: int = 9) -> Graph:
    """Up to three modules with branches, merges and dependencies on each other."""
    graph = Graph()
    names = ("alpha", "beta", "gamma")[: draw(st.integers(1, 3))]
    numbers = {name: count(1) for name in names}

    def add(module: str, down: tuple[str, ...]) -> None:
        others = [node.id for node in graph.nodes if node.module != module]
        depends = draw(st.lists(st.sampled_from(others), max_size=2, unique=True)) if others else []
        identity = f"{module}_{next(numbers[module])}"
        kind = draw(st.sampled_from(kinds))
        graph.nodes.append(Node(identity, module, down, tuple(sorted(depends)), kind))

    for name in names:
        add(name, ())
    for _ in range(draw(st.integers(0, size - len(names)))):
        module = draw(st.sampled_from(names))
        heads = graph.heads(module)
        own = [node.id for node in graph.nodes if node.module == module]
        shape = draw(st.sampled_from(("extend", "extend", "branch", "merge")))
        if shape == "merge" and len(heads) > 1:
            add(module, tuple(sorted(draw(st.permutations(heads))[:2])))
        else:
            add(module, (draw(st.sampled_from(own if shape == "branch" else heads)),))
    for name in names:  # one head per module, as a release has it
        if len(heads := graph.heads(name)) > 1:
            add(name, tuple(heads))
    every = [node.id for node in graph.nodes]
    up = st.tuples(st.just("up"), st.sampled_from([*every, "heads", "heads"]))
    down = st.tuples(
        st.just("down"), st.sampled_from([*every, *(f"{name}@base" for name in names)])
    )
    graph.walk = draw(st.lists(st.one_of(up, down), min_size=2, max_size=5))
    return graph


def plain_directory(modules: Sequence[OrganizationModule]) -> ScriptDirectory:
    return script_directory(module.migrations for module in modules)


def go(connection: Connection, directory: ScriptDirectory, way: str, target: str) -> None:
    """Go there as Alembic's own commands do, in the connection's `search_path`."""

    def steps(heads: Any, context: MigrationContext) -> Any:
        if way == "up":
            return directory._upgrade_revs(target, heads)
        return directory._downgrade_revs(target, heads)

    context = MigrationContext.configure(connection, opts={"fn": steps})
    with Operations.context(context), context.begin_transaction():
        context.run_migrations()
