-- Follows items.sql. The sums do not depend on the order of the rows: nothing is sorted.
SELECT t.nspname, h.fingerprint
FROM (
    SELECT ns, md5(sum(hashtextextended(item, 0)) || ' ' || sum(hashtextextended(item, 42))
        || ' ' || count(*)) AS fingerprint
    FROM (
        SELECT ns, concat_ws(E'\x1e', kind, coalesce(parent, ''), name, coalesce(detail, ''))
            AS item
        FROM items
    ) AS hashed
    GROUP BY ns
) h
JOIN targets t USING (ns)
