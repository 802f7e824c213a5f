"""Compiled paths lead where Alembic itself would go, through any graph of revisions."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from hypothesis import HealthCheck, given, note, settings
from psycopg import sql
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from orgtenancy import Tenancy
from orgtenancy.errors import OrgTenancyError
from orgtenancy.schemas.fleet import JobOptions
from orgtenancy.schemas.revisions import Revisions
from tests.migrations.graphs import Graph, Node, go, graphs, plain_directory
from tests.schemas.databases import FreshDatabase

FIXTURES = [HealthCheck.function_scoped_fixture]

CROSSWISE = Graph(
    [
        Node("alpha_1", "alpha", (), (), "sql"),
        Node("beta_1", "beta", (), ("alpha_1",), "online"),
        Node("gamma_1", "gamma", (), (), "sql"),
        Node("alpha_2", "alpha", ("alpha_1",), ("beta_1", "gamma_1"), "autocommit"),
    ]
)


class Plain:
    """A schema that Alembic alone looks after."""

    def __init__(self, database: FreshDatabase) -> None:
        self.name = f"plain_{uuid4().hex}"
        self._database = database
        database.ask(f'CREATE SCHEMA "{self.name}"')
        self._engine = create_engine(
            database.admin_url,
            poolclass=NullPool,
            connect_args={"options": f"-c search_path={self.name}"},
        )

    def connect(self) -> Connection:
        return self._engine.connect()


def state(database: FreshDatabase, schema: str) -> tuple[set[str], list[str]]:
    """The stamps of a schema, and everything that is in it."""
    stamps = database.ask(
        sql.SQL("SELECT version_num FROM {}")
        .format(sql.Identifier(schema, "alembic_version"))
        .as_string(None)
    )
    query = (
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace(%s) "
        "AND c.relname !~ '^alembic_version' ORDER BY 1"
    )
    return {row[0] for row in stamps}, [row[0] for row in database.ask(query, f'"{schema}"')]


def follow(database: FreshDatabase, graph: Graph) -> None:
    """Walk with the fleet and with Alembic, and compare after every step."""
    organization_id = f"o{uuid4().hex}"
    note(repr(graph))
    with TemporaryDirectory() as folder:
        modules = graph.write(Path(folder))
        plain, directory = Plain(database), plain_directory(modules)
        with database.tenancy(modules) as tenancy, plain.connect() as connection:
            schema = tenancy.schemas.provision(organization_id).schema_name
            is_lost = goes(connection, directory, "up", "heads") is None
            for way, target in graph.walk:
                before = None if is_lost else state(database, plain.name)
                went = False if is_lost else goes(connection, directory, way, target)
                is_lost = is_lost or went is None
                if went is False and not is_lost:
                    assert state(database, plain.name) == before
                    assert stays(tenancy, organization_id, way, target)
                else:
                    with suppress(OrgTenancyError) if is_lost else nullcontext():
                        migrate(tenancy, organization_id, way, target)
                found = state(database, schema)
                assert is_lost or found == state(database, plain.name), (way, target)
                check_invariants(tenancy, organization_id, graph, *found)


def goes(connection: Connection, directory: ScriptDirectory, way: str, target: str) -> bool | None:
    """Go with Alembic: False if it refuses, None if it loses its way among dependencies."""
    try:
        go(connection, directory, way, target)
    except CommandError:
        connection.rollback()
        return False
    except KeyError:
        connection.rollback()
        return None
    return True


def check_invariants(
    tenancy: Tenancy, organization_id: str, graph: Graph, stamps: set[str], objects: list[str]
) -> None:
    """The registry, the stamps and the tables say the same."""
    revisions = tenancy.schemas.revisions
    assert revisions.stamps_of(tenancy.schemas.get(organization_id).revisions) == stamps
    applied = stamps.union(*(revisions.ancestors(stamp) for stamp in stamps))
    assert {node.id for node in graph.nodes}.intersection(objects) == applied


def migrate(tenancy: Tenancy, organization_id: str, way: str, target: str) -> None:
    tenancy.schemas.fleet.migrate(
        target,
        down=way == "down",
        organizations=[organization_id],
        options=JobOptions(workers=1, max_attempts=1),
    )


def stays(tenancy: Tenancy, organization_id: str, way: str, target: str) -> bool:
    """Whether a target that Alembic refuses is refused, or nothing to do."""
    fleet = tenancy.schemas.fleet
    try:
        steps = fleet.plan(target, down=way == "down", organizations=[organization_id])
    except OrgTenancyError:
        return True
    return all(step.path is None for step in steps)


@pytest.fixture
def database(bare_database: FreshDatabase) -> FreshDatabase:
    with bare_database.tenancy([]) as tenancy:
        tenancy.install()
    return bare_database


def test_modules_may_depend_on_each_other_crosswise(
    database: FreshDatabase, tmp_path: Path
) -> None:
    # Alembic's own upgrade fails here: it looks for a stamp that another one implies.
    modules = CROSSWISE.write(tmp_path)
    with database.tenancy(modules) as tenancy:
        schema = tenancy.schemas.provision("acme").schema_name
        assert state(database, schema)[0] == {"alpha_2"}
        migrate(tenancy, "acme", "down", "alpha_1")
        assert state(database, schema)[0] == {"beta_1", "gamma_1"}
        migrate(tenancy, "acme", "down", "alpha@base")
        assert state(database, schema)[0] == {"gamma_1"}
        assert "beta_1" not in state(database, schema)[1]
        migrate(tenancy, "acme", "up", "beta_1")
        assert state(database, schema)[0] == {"beta_1", "gamma_1"}
        migrate(tenancy, "acme", "up", "heads")
        assert state(database, schema)[0] == {"alpha_2"}


def test_a_downgrade_to_what_others_depend_on_ends_there(
    database: FreshDatabase, tmp_path: Path
) -> None:
    graph = Graph(
        [
            Node("alpha_1", "alpha", (), (), "sql"),
            Node("beta_1", "beta", (), ("alpha_1",), "sql"),
            Node("alpha_2", "alpha", ("alpha_1",), (), "sql"),
        ]
    )
    with database.tenancy(graph.write(tmp_path)) as tenancy:
        schema = tenancy.schemas.provision("acme").schema_name
        migrate(tenancy, "acme", "down", "alpha_1")
        assert state(database, schema)[0] == {"beta_1"}
        assert tenancy.schemas.fleet.plan("alpha_1", down=True) == []


@pytest.mark.slow
@given(graph=graphs(size=5))
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=FIXTURES)
def test_the_fleet_goes_where_alembic_goes(database: FreshDatabase, graph: Graph) -> None:
    follow(database, graph)


@pytest.mark.slow
@given(graph=graphs(size=9))
@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURES)
def test_the_fleet_goes_where_alembic_goes_through_many_graphs(
    database: FreshDatabase, graph: Graph
) -> None:
    follow(database, graph)


@given(graph=graphs(size=9))
@settings(max_examples=20, deadline=None)
def test_the_registry_knows_the_stamps_of_every_state_on_the_way(graph: Graph) -> None:
    note(repr(graph))
    with TemporaryDirectory() as folder:
        revisions = Revisions(graph.write(Path(folder)))
        heads = frozenset[str]()
        for way, target in [("up", "heads"), *graph.walk]:
            try:
                path = revisions.path(heads, target, down=way == "down")
            except OrgTenancyError:
                continue
            for stage in path.stages:
                assert revisions.stamps_of(revisions.revisions_at(stage.after)) == stage.after
                assert dict(stage.revisions) == dict(revisions.revisions_at(stage.after))
            heads = path.after
            assert revisions.stamps_of(revisions.revisions_at(heads)) == heads
