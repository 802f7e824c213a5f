-- Follows objects.sql: who may do what with them.
granted AS MATERIALIZED (
    SELECT ns, role, 'grants on ' || CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
        name::text AS parent, name::text AS name,
        coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
            ::text AS acl
    FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
    SELECT r.ns, r.role, 'grants on column', r.name, r.name || '.' || a.attname, a.attacl::text
    FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL
    SELECT ns, role, 'grants on function', NULL, name,
        coalesce(proacl, acldefault('f', proowner))::text
    FROM functions
  UNION ALL
    SELECT ns, role, 'grants on type', NULL, name,
        coalesce(typacl, acldefault('T', typowner))::text
    FROM types
  UNION ALL
    SELECT ns, role, 'grants on schema', NULL, '', coalesce(nspacl, acldefault('n', nspowner))::text
    FROM targets
  UNION ALL
    SELECT t.ns, t.role, 'default privileges', NULL,
        CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
            WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE d.defaclobjtype::text END
            || CASE WHEN d.defaclrole = (SELECT oid FROM owner) THEN ''
                ELSE ' of ' || pg_get_userbyid(d.defaclrole) END,
        d.defaclacl::text
    FROM pg_default_acl d JOIN targets t ON t.ns = d.defaclnamespace
),
acls AS MATERIALIZED (  -- an ACL says the same in every order, and most tables have the same
    SELECT ns, acl, string_agg(grantee || ': ' || privileges, E'\x1f' ORDER BY grantee) AS detail
    FROM (
        SELECT ns, acl, string_agg(privilege, ', ' ORDER BY privilege) AS privileges,
            CASE grantee WHEN 0 THEN 'PUBLIC' WHEN role THEN '$role'
                WHEN (SELECT oid FROM owner) THEN '$owner' ELSE pg_get_userbyid(grantee) END
                COLLATE "C" AS grantee
        FROM (
            SELECT DISTINCT d.ns, d.role, d.acl, x.grantee,
                x.privilege_type || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
                    COLLATE "C" AS privilege
            FROM (SELECT DISTINCT ns, role, acl FROM granted) d,
                aclexplode(CAST(d.acl AS aclitem[])) x
        ) AS single
        GROUP BY ns, role, acl, grantee
    ) AS by_grantee
    GROUP BY ns, acl
),
