-- Follows objects.sql and rights.sql: one row for each object.
items (ns, kind, parent, name, detail) AS (
    SELECT ns, 'schema', NULL::text, ''::text,
        'owner: ' || CASE nspowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN role THEN '$role' ELSE pg_get_userbyid(nspowner) END
    FROM targets
  UNION ALL
    SELECT g.ns, g.kind, g.parent, g.name, a.detail
    FROM granted g JOIN acls a ON a.ns = g.ns AND a.acl = g.acl
  UNION ALL
    SELECT r.ns, r.kind, NULL, r.name,
        concat_ws(E'\x1f',
            'owner: ' || CASE r.relowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN r.role THEN '$role' ELSE pg_get_userbyid(r.relowner) END,
            CASE r.relpersistence WHEN 'u' THEN 'persistence: unlogged'
                WHEN 't' THEN 'persistence: temporary' END,
            CASE WHEN r.relrowsecurity THEN 'row security: enabled' END,
            CASE WHEN r.relforcerowsecurity THEN 'row security of the owner: forced' END,
            CASE WHEN r.relreplident <> 'd' AND r.relkind IN ('r', 'p', 'm') THEN
                'replica identity: ' || CASE r.relreplident WHEN 'f' THEN 'full'
                    WHEN 'n' THEN 'nothing' ELSE 'index ' || (
                        SELECT n.relname FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid
                        WHERE x.indrelid = r.oid AND x.indisreplident) END END,
            'options: ' || (SELECT string_agg(o, ', ' ORDER BY o COLLATE "C")
                FROM unnest(r.reloptions) o),
            CASE WHEN m.amname <> 'heap' THEN 'access method: ' || m.amname END,
            CASE WHEN r.relkind = 'm' AND NOT r.relispopulated THEN 'populated: no' END,
            CASE WHEN r.relkind IN ('v', 'm')
                THEN 'definition: ' || replace(pg_get_viewdef(r.oid), r.prefix, E'\x02.') END,
            'partition key: ' || CASE WHEN r.relkind = 'p'
                THEN replace(pg_get_partkeydef(r.oid), r.prefix, E'\x02.') END,
            'partition: ' || CASE WHEN r.relispartition
                THEN replace(pg_get_expr(r.relpartbound, r.oid), r.prefix, E'\x02.') END,
            'parents: ' || h.parents)
    FROM relations r
    LEFT JOIN pg_am m ON m.oid = r.relam
    LEFT JOIN (
        SELECT h.inhrelid, string_agg(replace(h.inhparent::regclass::text, r.prefix, E'\x02.'),
            ', ' ORDER BY h.inhseqno) AS parents
        FROM pg_inherits h JOIN relations r ON r.oid = h.inhrelid GROUP BY h.inhrelid
    ) h ON h.inhrelid = r.oid
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION ALL
    SELECT r.ns, 'sequence', NULL, r.name,
        concat_ws(E'\x1f',
            'owner: ' || CASE r.relowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN r.role THEN '$role' ELSE pg_get_userbyid(r.relowner) END,
            CASE r.relpersistence WHEN 'u' THEN 'persistence: unlogged' END,
            'type: ' || format_type(s.seqtypid, NULL), 'start: ' || s.seqstart,
            'increment: ' || s.seqincrement, 'minimum: ' || s.seqmin, 'maximum: ' || s.seqmax,
            'cache: ' || s.seqcache, CASE WHEN s.seqcycle THEN 'cycle: yes' END,
            'owned by: ' || b.relname || '.' || a.attname,
            CASE WHEN d.deptype = 'i' THEN 'identity: yes' END)
    FROM relations r
    JOIN pg_sequence s ON s.seqrelid = r.oid
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.objsubid = 0
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_class b ON b.oid = d.refobjid
    LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  UNION ALL
    SELECT r.ns, 'column', r.name, r.name || '.' || a.attname,
        concat_ws(E'\x1f',
            'type: ' || replace(format_type(a.atttypid, a.atttypmod), r.prefix, E'\x02.'),
            CASE WHEN a.attnotnull THEN 'null: no' ELSE 'null: yes' END,
            CASE a.attgenerated WHEN '' THEN 'default: ' WHEN 's' THEN 'generated: '
                ELSE 'generated virtually: ' END
                || replace(pg_get_expr(e.adbin, e.adrelid), r.prefix, E'\x02.'),
            'identity: ' || CASE a.attidentity WHEN 'a' THEN 'always'
                WHEN 'd' THEN 'by default' END,
            CASE WHEN a.attcollation NOT IN (0, 100) THEN 'collation: '
                || replace(a.attcollation::regcollation::text, r.prefix, E'\x02.') END,
            CASE WHEN a.attstorage <> y.typstorage AND r.relkind IN ('r', 'p', 'm')
                THEN 'storage: ' || CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'm' THEN 'main'
                    WHEN 'x' THEN 'extended' ELSE 'external' END END,
            'compression: ' || CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END,
            'statistics: ' || nullif(a.attstattarget, -1),
            -- `pg_attver` is a number that PostgreSQL 15.20 gives each relation by itself.
            'options: ' || nullif(array_to_string(ARRAY(
                SELECT o FROM unnest(a.attoptions) o WHERE NOT starts_with(o, 'pg_attver=')),
                ', '), ''))
    FROM relations r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
  UNION ALL
    SELECT k.ns, 'constraint', k.table_name, k.table_name || '.' || k.conname,
        concat_ws(E'\x1f',
            'type: ' || CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique'
                WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion'
                WHEN 'n' THEN 'not null' ELSE 'trigger' END,
            CASE WHEN k.contype <> 'c' THEN 'columns: ' || CASE
                WHEN cardinality(k.conkey) <= 4 THEN concat_ws(', ', k.names[k.conkey[1]],
                    k.names[k.conkey[2]], k.names[k.conkey[3]], k.names[k.conkey[4]])
                ELSE (SELECT string_agg(k.names[v.n], ', ' ORDER BY v.place)
                    FROM unnest(k.conkey) WITH ORDINALITY AS v (n, place)) END END,
            CASE WHEN k.contype = 'f' THEN 'references: '
                || CASE WHEN f.relnamespace = k.ns THEN f.relname::text
                    ELSE k.confrelid::regclass::text END || ' (' || CASE
                WHEN cardinality(k.confkey) <= 4 AND fc.oid IS NOT NULL
                    THEN concat_ws(', ', fc.names[k.confkey[1]], fc.names[k.confkey[2]],
                        fc.names[k.confkey[3]], fc.names[k.confkey[4]])
                ELSE (SELECT string_agg(a.attname, ', ' ORDER BY v.place)
                    FROM unnest(k.confkey) WITH ORDINALITY AS v (n, place)
                    JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = v.n
                ) END || ')' END,
            CASE WHEN k.contype = 'f' AND k.confupdtype <> 'a' THEN 'on update: '
                || CASE k.confupdtype WHEN 'c' THEN 'cascade' WHEN 'r' THEN 'restrict'
                    WHEN 'n' THEN 'set null' ELSE 'set default' END END,
            CASE WHEN k.contype = 'f' AND k.confdeltype <> 'a' THEN 'on delete: '
                || CASE k.confdeltype WHEN 'c' THEN 'cascade' WHEN 'r' THEN 'restrict'
                    WHEN 'n' THEN 'set null' ELSE 'set default' END
                || coalesce(' (' || (SELECT string_agg(k.names[v.n], ', ' ORDER BY v.place)
                    FROM unnest(k.confdelsetcols) WITH ORDINALITY AS v (n, place)) || ')', '') END,
            CASE WHEN k.contype = 'f' AND k.confmatchtype = 'f' THEN 'match: full' END,
            'check: ' || replace(pg_get_expr(k.conbin, k.conrelid), k.prefix, E'\x02.'),
            'operators: ' || replace(k.conexclop::regoperator[]::text, k.prefix, E'\x02.'),
            CASE WHEN k.condeferrable THEN 'deferrable: ' || CASE WHEN k.condeferred
                THEN 'initially deferred' ELSE 'yes' END END,
            CASE WHEN k.connoinherit AND k.contype IN ('c', 'n') THEN 'no inherit: yes' END,
            CASE WHEN NOT k.convalidated THEN 'validated: no' END,
            CASE WHEN NOT k.conenforced THEN 'enforced: no' END,
            CASE WHEN k.conperiod THEN 'period: yes' END)
    FROM constraints k
    LEFT JOIN pg_class f ON f.oid = k.confrelid
    LEFT JOIN column_names fc ON fc.oid = k.confrelid
  UNION ALL
    SELECT r.ns, CASE WHEN k.oid IS NULL THEN 'index' ELSE 'index of constraint' END,
        b.name, r.name,
        concat_ws(E'\x1f',
            'table: ' || b.name,
            CASE WHEN i.indisunique THEN 'unique: yes' END,
            CASE WHEN i.indnullsnotdistinct THEN 'nulls distinct: no' END,
            CASE WHEN NOT (i.indisvalid AND i.indisready) THEN 'valid: no' END,
            CASE WHEN NOT i.indimmediate AND k.oid IS NULL THEN 'immediate: no' END,
            CASE WHEN i.indisclustered THEN 'clustered: yes' END,
            'method: ' || m.amname,
            'columns: ' || CASE
                WHEN i.indnatts <= 4 AND i.indexprs IS NULL THEN concat_ws(', ',
                    c.names[i.indkey[0]], c.names[i.indkey[1]],
                    c.names[i.indkey[2]], c.names[i.indkey[3]])
                ELSE (SELECT string_agg(coalesce(c.names[v.n], '(expression)'), ', '
                        ORDER BY v.place)
                    FROM unnest(i.indkey) WITH ORDINALITY AS v (n, place)) END,
            CASE WHEN i.indnkeyatts < i.indnatts
                THEN 'included: the last ' || i.indnatts - i.indnkeyatts END,
            -- 1 is descending, 2 is nulls first
            CASE WHEN translate(i.indoption::text, ' 0', '') <> ''
                THEN 'order: ' || i.indoption::text END,
            'operator classes: ' || o.names,
            'collations: ' || l.names,
            'expressions: ' || replace(pg_get_expr(i.indexprs, i.indrelid), r.prefix, E'\x02.'),
            'where: ' || replace(pg_get_expr(i.indpred, i.indrelid), r.prefix, E'\x02.'),
            'options: ' || array_to_string(r.reloptions, ', '))
    FROM pg_index i
    JOIN relations r ON r.oid = i.indexrelid
    JOIN relations b ON b.oid = i.indrelid
    JOIN column_names c ON c.oid = i.indrelid
    JOIN pg_am m ON m.oid = r.relam
    LEFT JOIN operator_classes o ON o.indclass = i.indclass
    LEFT JOIN collations l ON l.indcollation = i.indcollation
    LEFT JOIN constraints k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
  UNION ALL
    SELECT ns, CASE WHEN tgisinternal THEN 'triggers of constraint' ELSE 'trigger' END, table_name,
        table_name || '.' || CASE WHEN tgisinternal THEN coalesce(
            (SELECT conname FROM pg_constraint k WHERE k.oid = tgconstraint), tgname)
            ELSE tgname END,
        concat_ws(E'\x1f',
            'enabled: ' || CASE tgenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no'
                WHEN 'R' THEN 'on replicas' ELSE 'always' END,
            CASE WHEN NOT tgisinternal THEN 'definition: '
                || replace(pg_get_triggerdef(oid), prefix, E'\x02.') END)
    FROM triggers
  UNION ALL
    SELECT r.ns, 'policy', r.name, r.name || '.' || p.polname,
        concat_ws(E'\x1f',
            'command: ' || CASE p.polcmd WHEN '*' THEN 'ALL' WHEN 'r' THEN 'SELECT'
                WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' ELSE 'DELETE' END,
            CASE WHEN NOT p.polpermissive THEN 'restrictive: yes' END,
            'roles: ' || (SELECT string_agg(v.label, ', ' ORDER BY v.label COLLATE "C") FROM (
                SELECT CASE x WHEN 0 THEN 'PUBLIC' WHEN r.role THEN '$role'
                    WHEN (SELECT oid FROM owner) THEN '$owner' ELSE pg_get_userbyid(x) END AS label
                FROM unnest(p.polroles) x) v),
            'using: ' || replace(pg_get_expr(p.polqual, p.polrelid), r.prefix, E'\x02.'),
            'with check: ' || replace(pg_get_expr(p.polwithcheck, p.polrelid), r.prefix, E'\x02.'))
    FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
  UNION ALL
    SELECT r.ns, 'rule', r.name, r.name || '.' || w.rulename,
        concat_ws(E'\x1f', 'enabled: ' || w.ev_enabled::text,
            'definition: ' || replace(pg_get_ruledef(w.oid), r.prefix, E'\x02.'))
    FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class
    WHERE w.rulename <> '_RETURN'
  UNION ALL
    SELECT t.ns, 'statistics', r.name, s.stxname,
        'definition: ' || replace(pg_get_statisticsobjdef(s.oid), t.prefix, E'\x02.')
    FROM pg_statistic_ext s JOIN targets t ON t.ns = s.stxnamespace
    LEFT JOIN relations r ON r.oid = s.stxrelid
  UNION ALL
    SELECT ns, CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
        NULL, name,
        concat_ws(E'\x1f',
            'owner: ' || CASE proowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN role THEN '$role' ELSE pg_get_userbyid(proowner) END,
            'arguments: ' || replace(pg_get_function_arguments(oid), prefix, E'\x02.'),
            'returns: ' || replace(pg_get_function_result(oid), prefix, E'\x02.'),
            'language: ' || (SELECT lanname FROM pg_language l WHERE l.oid = prolang),
            'volatility: ' || CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable'
                ELSE 'volatile' END,
            CASE WHEN prosecdef THEN 'security: definer' END,
            CASE WHEN proisstrict THEN 'strict: yes' END,
            CASE WHEN proleakproof THEN 'leakproof: yes' END,
            CASE WHEN proparallel <> 'u' THEN 'parallel: ' || proparallel::text END,
            'cost: ' || procost, CASE WHEN proretset THEN 'rows: ' || prorows END,
            'configuration: ' || replace(array_to_string(proconfig, '; '), quoted, E'\x02'),
            CASE WHEN prokind = 'a' THEN 'state: ' || (
                SELECT replace(concat_ws(', ', aggtransfn::regprocedure, aggfinalfn::regproc,
                    aggtranstype::regtype, agginitval), prefix, E'\x02.')
                FROM pg_aggregate g WHERE g.aggfnoid = oid) END,
            'body: ' || replace(coalesce(pg_get_function_sqlbody(oid), prosrc), prefix, E'\x02.'))
    FROM functions
  UNION ALL
    SELECT y.ns, CASE y.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range'
        ELSE 'composite type' END, NULL, y.name,
        concat_ws(E'\x1f',
            'owner: ' || CASE y.typowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN y.role THEN '$role' ELSE pg_get_userbyid(y.typowner) END,
            'values: ' || e.labels,
            CASE WHEN y.typtype = 'd' THEN concat_ws(E'\x1f',
                'type: ' || replace(format_type(y.typbasetype, y.typtypmod), y.prefix, E'\x02.'),
                CASE WHEN y.typnotnull THEN 'null: no' END,
                'default: ' || replace(y.typdefault, y.prefix, E'\x02.'),
                CASE WHEN y.typcollation NOT IN (0, 100) THEN 'collation: '
                    || replace(y.typcollation::regcollation::text, y.prefix, E'\x02.') END,
                k.checks) END,
            'subtype: ' || replace(concat_ws(', ', g.rngsubtype::regtype, g.rngsubopc,
                nullif(g.rngcollation, 0), nullif(g.rngcanonical::oid, 0)::regproc,
                nullif(g.rngsubdiff::oid, 0)::regproc), y.prefix, E'\x02.'))
    FROM types y
    LEFT JOIN pg_range g ON g.rngtypid = y.oid
    LEFT JOIN (
        SELECT enumtypid, string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) AS labels
        FROM pg_enum GROUP BY enumtypid
    ) e ON e.enumtypid = y.oid
    LEFT JOIN (
        SELECT k.contypid, string_agg('constraint ' || k.conname || ': ' || replace(
            pg_get_constraintdef(k.oid), y.prefix, E'\x02.'), E'\x1f' ORDER BY k.conname) AS checks
        FROM pg_constraint k JOIN types y ON y.oid = k.contypid
        WHERE k.contype = 'c' GROUP BY k.contypid
    ) k ON k.contypid = y.oid
  UNION ALL
    SELECT t.ns, 'text search configuration', NULL, c.cfgname,
        concat_ws(E'\x1f',
            'owner: ' || CASE c.cfgowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN t.role THEN '$role' ELSE pg_get_userbyid(c.cfgowner) END,
            'parser: ' || (SELECT quote_ident(n.nspname) || '.' || quote_ident(p.prsname)
                FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace
                WHERE p.oid = c.cfgparser),
            m.mappings)
    FROM pg_ts_config c
    JOIN targets t ON t.ns = c.cfgnamespace
    LEFT JOIN (
        SELECT x.mapcfg, string_agg(x.facet, E'\x1f' ORDER BY x.facet COLLATE "C") AS mappings
        FROM (
            SELECT m.mapcfg, 'words of kind ' || k.alias || ': ' || string_agg(
                replace(m.mapdict::regdictionary::text, t.prefix, E'\x02.'),
                ', ' ORDER BY m.mapseqno) AS facet
            FROM pg_ts_config_map m
            JOIN pg_ts_config c ON c.oid = m.mapcfg
            JOIN targets t ON t.ns = c.cfgnamespace
            JOIN (
                SELECT p.oid, y.tokid, y.alias FROM pg_ts_parser p, ts_token_type(p.oid) y
            ) k ON k.oid = c.cfgparser AND k.tokid = m.maptokentype
            GROUP BY m.mapcfg, k.alias
        ) x GROUP BY x.mapcfg
    ) m ON m.mapcfg = c.oid
  UNION ALL
    SELECT t.ns, 'text search dictionary', NULL, d.dictname,
        concat_ws(E'\x1f',
            'owner: ' || CASE d.dictowner WHEN (SELECT oid FROM owner) THEN '$owner'
                WHEN t.role THEN '$role' ELSE pg_get_userbyid(d.dictowner) END,
            'template: ' || (SELECT tmplname FROM pg_ts_template p WHERE p.oid = d.dicttemplate),
            'options: ' || d.dictinitoption)
    FROM pg_ts_dict d JOIN targets t ON t.ns = d.dictnamespace
  UNION ALL
    SELECT o.ns, 'comment on ' || o.kind, o.parent, o.name, 'text: ' || d.description
    FROM pg_description d
    JOIN (
        SELECT 'pg_class'::regclass AS class, oid, 0 AS part, ns, kind,
            CASE WHEN kind <> 'index' THEN name END::text AS parent, name::text AS name
        FROM relations
      UNION ALL
        SELECT 'pg_class'::regclass, r.oid, a.attnum, r.ns, 'column', r.name,
            r.name || '.' || a.attname
        FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid
        WHERE a.attnum > 0 AND NOT a.attisdropped
            AND EXISTS (SELECT FROM pg_description d WHERE d.objoid = r.oid AND d.objsubid > 0)
      UNION ALL
        SELECT 'pg_constraint'::regclass, oid, 0, ns, 'constraint', table_name,
            table_name || '.' || conname
        FROM constraints
      UNION ALL
        SELECT 'pg_trigger'::regclass, oid, 0, ns, 'trigger', table_name, table_name || '.' || tgname
        FROM triggers
      UNION ALL
        SELECT 'pg_policy'::regclass, p.oid, 0, r.ns, 'policy', r.name, r.name || '.' || p.polname
        FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
      UNION ALL
        SELECT 'pg_proc'::regclass, oid, 0, ns,
            CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
            NULL, name
        FROM functions
      UNION ALL
        SELECT 'pg_type'::regclass, oid, 0, ns, CASE typtype WHEN 'd' THEN 'domain' ELSE 'type' END,
            NULL, name
        FROM types
      UNION ALL
        SELECT 'pg_namespace'::regclass, ns, 0, ns, 'schema', NULL, '' FROM targets
    ) o ON o.class = d.classoid AND o.oid = d.objoid AND o.part = d.objsubid
)
