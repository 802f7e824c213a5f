"""Making one schema: role, schema, tables and rights, in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.schemas import citus, grants
from orgtenancy.schemas.revisions import RevisionPath, Revisions
from orgtenancy.schemas.revisions.online import run_fresh
from orgtenancy.schemas.revisions.paths import SqlPart
from orgtenancy.schemas.rights import grantee_of
from orgtenancy.settings import IsolationLevel


@dataclass(frozen=True)
class SchemaBuilder:
    """Makes the schemas of one placement.

    Attributes:
        database: The placement.
        revisions: What every schema contains.
    """

    database: Database
    revisions: Revisions

    @property
    def path(self) -> RevisionPath:
        """What fills a schema; it has one stage, or none without modules.

        Raises:
            ConfigurationError: If the modules' revisions are no tree with one head per module.
        """
        _ = self.revisions.heads
        return self.revisions.fresh_path()

    def create_role(self, connection: Connection, role: str) -> list[sql.Composable]:
        """Return the statements that make the role of a schema, where there are roles."""
        login = str(self.database.url.username)
        match self.database.settings.isolation:
            case IsolationLevel.ROLE:
                version = grants.server_version(connection)
                return grants.create_role(role, login, version, is_login=self.database.has_citus)
            case IsolationLevel.LOGIN:
                password = str(self.database.role_url(role).password)
                return grants.create_login(connection, role, password)
            case IsolationLevel.SEARCH_PATH:
                return []

    def grantee(self, role: str) -> str:
        """Return who gets the rights in a schema: its role, or the app's login without roles."""
        return grantee_of(self.database, role)

    def build(
        self,
        connection: Connection,
        schema: str,
        role: str,
        before: Sequence[sql.Composable] = (),
        *,
        path: RevisionPath | None = None,
    ) -> None:
        """Make a schema with all tables of the modules.

        Args:
            connection: A connection of the owner, in a transaction.
            schema: Its name.
            role: Its role.
            before: Statements to send ahead, such as those that make the role.
            path: What fills it, if not what leads to the newest revisions.
        """
        path, one_by_one = self.path if path is None else path, self.database.has_citus
        if (script := path.script) is not None:
            statements = self._around(schema, role, before, script)
            grants.send(connection, statements, one_by_one=one_by_one)
            return
        begin, end = self._begin(schema, role), self._end(schema, role)
        grants.execute(connection, [*before, *begin], one_by_one=one_by_one)
        self.bring(connection, path)
        grants.execute(connection, end, one_by_one=one_by_one)

    def bring(self, connection: Connection, path: RevisionPath) -> None:
        """Bring a schema along a path that is for one which nobody uses yet.

        Args:
            connection: A connection of the owner, in a transaction that has entered the schema.
            path: As `Revisions.fresh_path` returns it.
        """
        for part in (part for stage in path.stages for part in stage.parts):
            if isinstance(part, SqlPart):
                grants.send(connection, part.script, one_by_one=self.database.has_citus)
            else:
                run_fresh(connection, part, self.revisions.settings)

    def script(
        self, schema: str, role: str, before: Sequence[sql.Composable] = ()
    ) -> list[str] | None:
        """Return what `build` does as statements; None if they cannot be one message."""
        script = self.path.script
        if script is None or self.database.has_citus:
            return None
        return self._around(schema, role, before, script)

    def _around(
        self, schema: str, role: str, before: Sequence[sql.Composable], script: Sequence[str]
    ) -> list[str]:
        begin, end = self._begin(schema, role), self._end(schema, role) if script else []
        return [*grants.texts([*before, *begin]), *script, *grants.texts(end)]

    def _begin(self, schema: str, role: str) -> list[sql.Composable]:
        return [
            *([citus.distribute()] if self.database.has_citus else ()),
            *grants.create_schema(schema, self.grantee(role)),
            *grants.enter_schema(schema, self.database.settings.extensions_schema),
        ]

    def _end(self, schema: str, role: str) -> list[sql.Composable]:
        return grants.protect_versions(schema, self.grantee(role))

    @cached_property
    def settings_digest(self) -> str:
        """Return a digest of all that a schema is made with, but the revisions.

        Which scopes an endpoint asks for is no matter of the schema.
        """
        settings = self.database.settings
        modules = {
            module.name: module.settings.model_dump(mode="json", exclude={"scopes"})
            for module in self.revisions.modules
        }
        content = {
            "isolation": settings.isolation,
            "extensions_schema": settings.extensions_schema,
            "login": self.database.url.username,
            # One without settings may come later, by its revisions alone.
            "modules": {name: values for name, values in modules.items() if values},
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
