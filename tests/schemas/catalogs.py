"""All that a schema consists of, in words that do not depend on its own name."""

from __future__ import annotations

from typing import Any

from tests.schemas.databases import FreshDatabase

# What the catalogs say of one schema; `%(schema)s` is its name.
_QUESTIONS = {
    "schema": "SELECT pg_get_userbyid(nspowner), nspacl::text[] FROM pg_namespace "
    "WHERE nspname = %(schema)s",
    "default rights": "SELECT defaclobjtype::text, pg_get_userbyid(defaclrole), defaclacl::text[] "
    "FROM pg_default_acl WHERE defaclnamespace = quote_ident(%(schema)s)::regnamespace ORDER BY 1",
    "relations": "SELECT relname, relkind::text, pg_get_userbyid(relowner), relacl::text[], "
    "relreplident::text, relrowsecurity, reloptions, obj_description(oid, 'pg_class') "
    "FROM pg_class WHERE relnamespace = quote_ident(%(schema)s)::regnamespace ORDER BY 1",
    "columns": "SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), "
    "a.attnotnull, a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), "
    "a.attacl::text[], col_description(c.oid, a.attnum) FROM pg_class c "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE c.relnamespace = quote_ident(%(schema)s)::regnamespace AND c.relkind <> 'i' "
    "ORDER BY 1, 2",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
    "FROM pg_constraint WHERE connamespace = quote_ident(%(schema)s)::regnamespace ORDER BY 1, 2",
    "indexes": "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid "
    "FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
    "WHERE c.relnamespace = quote_ident(%(schema)s)::regnamespace ORDER BY 1",
    "types": "SELECT t.typname, t.typtype::text, pg_get_userbyid(t.typowner), t.typacl::text[], "
    "(SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum "
    "WHERE enumtypid = t.oid) "
    "FROM pg_type t WHERE t.typnamespace = quote_ident(%(schema)s)::regnamespace ORDER BY 1",
    "routines": "SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text[] "
    "FROM pg_proc p WHERE p.pronamespace = quote_ident(%(schema)s)::regnamespace ORDER BY 1",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(t.oid) "
    "FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid "
    "WHERE c.relnamespace = quote_ident(%(schema)s)::regnamespace AND NOT tgisinternal "
    "ORDER BY 1, 2",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = %(schema)s ORDER BY 1",
}


def describe(database: FreshDatabase, schema: str, role: str) -> dict[str, list[Any]]:
    """Return what the catalogs say of a schema, its own name and its role's left out."""

    def neutral(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(schema, "SCHEMA").replace(role, "ROLE").replace('"', "")
        if isinstance(value, (list, tuple)):
            return [neutral(part) for part in value]
        return value

    return {
        what: neutral(database.ask(question, {"schema": schema}))
        for what, question in _QUESTIONS.items()
    }


def contents(database: FreshDatabase, schema: str, *tables: str) -> dict[str, list[Any]]:
    """Return all rows of some tables."""
    return {
        table: sorted(
            row[0] for row in database.ask(f'SELECT t::text FROM "{schema}"."{table}" AS t')
        )
        for table in tables
    }
