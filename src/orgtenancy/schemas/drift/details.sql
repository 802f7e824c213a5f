-- Follows items.sql.
SELECT t.nspname, i.kind, i.parent, i.name, coalesce(i.detail, '') AS detail
FROM items i JOIN targets t USING (ns)
ORDER BY i.kind COLLATE "C", i.name COLLATE "C", i.parent COLLATE "C"
