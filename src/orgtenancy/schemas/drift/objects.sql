-- What the schemas consist of: one row for each object, with its facets as `name: text`,
-- separated by the character 31. The name of the schema itself is the character 2, its role is
-- `$role`, the owner of all is `$owner`. Nothing depends on an OID of the schema, or on the
-- place of a column in its table. Run with `search_path` set to `pg_catalog`, so that
-- everything else comes qualified.
WITH owner AS MATERIALIZED (
    SELECT oid FROM pg_roles WHERE rolname = current_user
),
targets AS MATERIALIZED (
    SELECT n.oid AS ns, n.nspname, n.nspowner, n.nspacl, r.oid AS role,
        quote_ident(n.nspname) AS quoted, quote_ident(n.nspname) || '.' AS prefix
    FROM unnest(CAST(:schemas AS name[]), CAST(:roles AS name[])) AS given (schema_name, role_name)
    JOIN pg_namespace n ON n.nspname = given.schema_name
    LEFT JOIN pg_roles r ON r.rolname = given.role_name
),
relations AS MATERIALIZED (
    SELECT c.oid, c.relname AS name, c.relkind, c.relpersistence, c.relrowsecurity,
        c.relforcerowsecurity, c.reloptions, c.relacl, c.relowner, c.relam, c.relreplident,
        c.relispopulated, c.relispartition, c.relpartbound,
        CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
            WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
            WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type' ELSE 'index' END AS kind,
        t.ns, t.role, t.quoted, t.prefix
    FROM pg_class c JOIN targets t ON t.ns = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c', 'i', 'I')
),
column_names AS MATERIALIZED (  -- by attnum; dropped columns keep their place
    SELECT a.attrelid AS oid, array_agg(a.attname ORDER BY a.attnum) AS names
    FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid
    WHERE a.attnum > 0 AND r.relkind IN ('r', 'p', 'm', 'f')
    GROUP BY a.attrelid
),
constraints AS MATERIALIZED (
    SELECT k.*, r.name AS table_name, r.ns, r.prefix, c.names
    -- The inner names win where the server's version has them: 18.
    FROM (SELECT true AS conenforced, false AS conperiod) AS older
    CROSS JOIN LATERAL (
        SELECT oid, conname, conrelid, contype, conindid, convalidated, condeferrable,
            condeferred, confrelid, confupdtype, confdeltype, confmatchtype, connoinherit, conkey,
            confkey, conexclop, confdelsetcols, conbin, conenforced, conperiod
        FROM pg_constraint
    ) AS k
    JOIN relations r ON r.oid = k.conrelid
    LEFT JOIN column_names c ON c.oid = k.conrelid
    -- Whether a column takes null is a facet of the column; the name is the server's choice.
    WHERE k.contype <> 'n' OR NOT k.convalidated
),
operator_classes AS MATERIALIZED (  -- few different ones among many indexes
    SELECT d.indclass, string_agg(o.opcname, ', ' ORDER BY v.place) AS names
    FROM (SELECT DISTINCT i.indclass FROM pg_index i JOIN relations r ON r.oid = i.indexrelid) d,
        unnest(d.indclass) WITH ORDINALITY AS v (oid, place)
    JOIN pg_opclass o ON o.oid = v.oid
    GROUP BY d.indclass
),
collations AS MATERIALIZED (
    SELECT d.indcollation, string_agg(coalesce(c.collname, '-'), ', ' ORDER BY v.place) AS names
    FROM (
        SELECT DISTINCT i.indcollation FROM pg_index i JOIN relations r ON r.oid = i.indexrelid
    ) d, unnest(d.indcollation) WITH ORDINALITY AS v (oid, place)
    LEFT JOIN pg_collation c ON c.oid = v.oid
    GROUP BY d.indcollation
    HAVING bool_or(v.oid NOT IN (0, 100))
),
functions AS MATERIALIZED (
    SELECT p.*, t.ns, t.role, t.quoted, t.prefix,
        p.proname || '('
            || replace(pg_get_function_identity_arguments(p.oid), t.prefix, E'\x02.') || ')' AS name
    FROM pg_proc p JOIN targets t ON t.ns = p.pronamespace
    WHERE NOT EXISTS (  -- those of a range come and go with it
        SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
            AND d.deptype = 'i'
    )
),
types AS MATERIALIZED (
    SELECT y.oid, y.typname AS name, y.typtype, y.typowner, y.typacl, y.typbasetype, y.typtypmod,
        y.typnotnull, y.typdefault, y.typcollation, t.ns, t.role, t.prefix
    FROM pg_type y JOIN targets t ON t.ns = y.typnamespace
    WHERE y.typtype IN ('e', 'd', 'r')
        OR (y.typtype = 'c' AND y.typrelid IN (SELECT oid FROM relations WHERE relkind = 'c'))
),
triggers AS MATERIALIZED (
    SELECT g.oid, g.tgname, g.tgenabled, g.tgisinternal, g.tgconstraint, r.ns, r.prefix,
        r.quoted, r.name AS table_name
    FROM pg_trigger g JOIN relations r ON r.oid = g.tgrelid
    WHERE NOT g.tgisinternal OR g.tgenabled <> 'O'
),
