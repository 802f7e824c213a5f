-- How the objects of one schema are made, in the server's own words; the name of the schema is
-- the character 2. `place` is an order in which they can be made.
WITH target AS MATERIALIZED (
    SELECT oid AS ns, nspname, quote_ident(nspname) AS quoted
    FROM pg_namespace WHERE nspname = :schema
)
SELECT d.kind, d.name, d.place, replace(d.definition, t.quoted, E'\x02') AS definition
FROM target t CROSS JOIN LATERAL (
    SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
            ELSE 'index' END AS kind,
        c.relname::text AS name, c.oid::bigint AS place,
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid)
            ELSE pg_get_indexdef(c.oid) END AS definition
    FROM pg_class c WHERE c.relnamespace = t.ns AND c.relkind IN ('v', 'm', 'i', 'I')
  UNION ALL
    SELECT 'column', c.relname || '.' || a.attname, a.attnum, NULL
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = t.ns AND a.attnum > 0 AND NOT a.attisdropped
        AND c.relkind IN ('r', 'p', 'f', 'c')
  UNION ALL
    SELECT 'constraint', c.relname || '.' || k.conname, k.oid::bigint, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = t.ns
  UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END,
        p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.oid::bigint,
        pg_get_functiondef(p.oid)
    FROM pg_proc p WHERE p.pronamespace = t.ns AND p.prokind <> 'a'
) d
