-- The rows of `community_data.py`, which defines the sizes as functions, `words` and `templates`.

-- A number of [0, 1) that looks random; the salt makes series differ.
CREATE FUNCTION pg_temp.chance(n bigint, salt bigint) RETURNS float8 IMMUTABLE LANGUAGE sql
    RETURN (hashint8extended(n, salt) & 16777215) / 16777216.0::float8;
-- One of 0 to `number - 1`, small ones more often the greater the skew.
CREATE FUNCTION pg_temp.draw(n bigint, salt bigint, number float8, skew float8 DEFAULT 1)
    RETURNS bigint IMMUTABLE LANGUAGE sql
    RETURN floor(number * power(pg_temp.chance(n, salt), skew))::bigint;
CREATE FUNCTION pg_temp.person(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
    RETURN 'person-' || lpad(n::text, 5, '0');
-- A time in the year 2025, in milliseconds.
CREATE FUNCTION pg_temp.moment(part float8) RETURNS bigint IMMUTABLE LANGUAGE sql
    RETURN 1735689600000 + floor(part * 31536000000)::bigint;
CREATE FUNCTION pg_temp.at(ms bigint) RETURNS timestamptz IMMUTABLE LANGUAGE sql
    RETURN '1970-01-01 00:00:00+00'::timestamptz + ms * interval '1 millisecond';
-- A UUID of version 7.
CREATE FUNCTION pg_temp.key(ms bigint, seed text) RETURNS uuid IMMUTABLE LANGUAGE sql
    RETURN overlay(overlay(overlay(md5(seed) PLACING lpad(to_hex(ms), 12, '0') FROM 1)
                           PLACING '7' FROM 13) PLACING '8' FROM 17)::uuid;
CREATE FUNCTION pg_temp.post_key(n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
    RETURN pg_temp.key(pg_temp.moment(n::float8 / pg_temp.posts()), 'p' || n);
CREATE FUNCTION pg_temp.comment_key(n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
    RETURN pg_temp.key(pg_temp.moment(n::float8 / pg_temp.comments()), 'c' || n);

CREATE TEMP TABLE sentences AS
SELECT s AS n, string_agg(word, ' ' ORDER BY w) AS sentence
FROM generate_series(0, 4999) s
CROSS JOIN generate_series(1, 8) w
JOIN words ON words.n = pg_temp.draw(s * 8 + w, 1, 1000, 3)
GROUP BY s;
ANALYZE words, templates, sentences;

INSERT INTO user_profiles (user_id, username, display_name, bio, status, created_at)
SELECT pg_temp.person(p), a.word || p, initcap(a.word) || ' ' || initcap(b.word), sentence,
    CASE p % 50 WHEN 7 THEN 'deactivated' ELSE 'active' END, pg_temp.at(pg_temp.moment(0))
FROM generate_series(0, pg_temp.people() - 1) p
JOIN words a ON a.n = p * 7 % 1000
JOIN words b ON b.n = p * 13 % 1000
JOIN sentences s ON s.n = p;

-- Groups: most are small, the largest hold most of the people.
CREATE TEMP TABLE circles AS
SELECT n, pg_temp.key(pg_temp.moment(0), 'g' || n) AS id,
    CASE WHEN chance < 0.6 THEN 'public' WHEN chance < 0.85 THEN 'private' ELSE 'secret' END
        AS privacy,
    8 + pg_temp.draw(n, 12, 0.75 * pg_temp.people(), 20) AS size
FROM generate_series(0, pg_temp.circles() - 1) n,
    LATERAL (SELECT pg_temp.chance(n, 11) AS chance);

CREATE TEMP TABLE members AS
SELECT n, id, k,
    pg_temp.person((pg_temp.draw(n, 13, pg_temp.people()) + k * 7) % pg_temp.people()) AS user_id,
    CASE WHEN k = 0 THEN 'owner' WHEN k < 3 AND chance < 0.9 THEN 'admin'
        WHEN k < 6 AND chance < 0.9 THEN 'moderator' ELSE 'member' END AS role,
    CASE WHEN k = 0 OR chance < 0.9 THEN 'active' WHEN chance < 0.93 THEN 'requested'
        WHEN chance < 0.97 THEN 'invited' ELSE 'banned' END AS status
FROM circles, generate_series(0, size - 1) k,
    LATERAL (SELECT pg_temp.chance(n * 10000 + k, 14) AS chance);

CREATE TEMP TABLE active AS
SELECT n, id, user_id, row_number() OVER (PARTITION BY n ORDER BY k) - 1 AS k,
    count(*) OVER (PARTITION BY n) AS number
FROM members WHERE status = 'active';
ANALYZE circles, members, active;

INSERT INTO groups (id, name, slug, description, privacy, category, member_count, owner_id,
    created_at)
SELECT c.id, initcap(word), word || '-' || c.n, sentence, privacy,
    (ARRAY['work', 'sports', 'music', 'food', 'travel'])[1 + c.n % 5], a.number, a.user_id,
    pg_temp.at(pg_temp.moment(0))
FROM circles c
JOIN active a ON a.n = c.n AND a.k = 0
JOIN words w ON w.n = c.n
JOIN sentences s ON s.n = c.n;

INSERT INTO group_members (group_id, user_id, role, status, joined_at)
SELECT id, user_id, role, status,
    CASE status WHEN 'active' THEN pg_temp.at(pg_temp.moment(0) + k * 60000) END
FROM members ORDER BY n, k;

-- Threads follow each other in time, as the posts do that they are below. Ten posts have far
-- more of them than others, and the first has the longest.
CREATE TEMP TABLE threads AS
SELECT t, size, first,
    CASE WHEN t = 0 OR chance < 0.1 THEN post / tenth * tenth
        WHEN chance < 0.4 THEN post / 100 * 100 ELSE post END AS post
FROM (
    SELECT t, size, pg_temp.chance(t, 21) AS chance,
        (sum(size) OVER (ORDER BY t) - size)::bigint AS first
    FROM generate_series(0, pg_temp.comments() / 3) t
    JOIN templates ON i = 0 AND CASE t WHEN 0 THEN size > 1000
        ELSE pg_temp.draw(t, 22, 100) >= lowest AND pg_temp.draw(t, 22, 100) < highest END
) drawn, LATERAL (
    SELECT pg_temp.posts() * first / pg_temp.comments() AS post, pg_temp.posts() / 10 AS tenth
) place
WHERE first < pg_temp.comments();

CREATE TEMP TABLE remarks AS
SELECT first + i AS n, first, post, line,
    CASE WHEN chance < 0.02 THEN 'deleted' WHEN chance < 0.025 THEN 'removed' END AS tombstone
FROM threads JOIN templates USING (size),
    LATERAL (SELECT pg_temp.chance(first + i, 23) AS chance)
WHERE first + i < pg_temp.comments();

CREATE TEMP TABLE drafts AS
SELECT n, pg_temp.post_key(n) AS id, pg_temp.moment(n::float8 / pg_temp.posts()) AS ms,
    CASE WHEN chance < 0.25 THEN 'group' WHEN chance < 0.3 THEN 'private' ELSE 'public' END
        AS visibility,
    CASE WHEN chance < 0.25 THEN pg_temp.draw(n, 32, pg_temp.circles(), 2) END AS circle,
    pg_temp.draw(n, 42, 10) = 0 AS common, n % (pg_temp.posts() / 5) = 17 AS rare,
    n < pg_temp.posts() / 5 AND n % 10 = 3 AS old,
    floor(sum(weight) OVER (ORDER BY n))::bigint AS reached
FROM generate_series(0, pg_temp.posts() - 1) n, LATERAL (
    SELECT pg_temp.chance(n, 31) AS chance,
        CASE WHEN n % (pg_temp.posts() / 10) = 0 THEN 0.2 * pg_temp.people()
            ELSE least(1 / sqrt(pg_temp.chance(n, 33) + 0.001), 15) END AS weight
);

CREATE TEMP TABLE liked AS
SELECT n, id, ms, reached_likes - lag(reached_likes, 1, 0::bigint) OVER (ORDER BY n) AS likes
FROM (
    SELECT n, id, ms, pg_temp.likes() * reached / max(reached) OVER () AS reached_likes
    FROM drafts
);

CREATE TEMP TABLE discussed AS
SELECT post AS n, count(*) AS comments FROM remarks WHERE tombstone IS NULL GROUP BY 1;
ANALYZE threads, remarks, drafts, liked, discussed;

INSERT INTO posts (id, user_id, group_id, content, visibility, tags, likes_count,
    comments_count, pinned_at, locked_at, deleted_at, deleted_by, created_at, updated_at)
SELECT d.id,
    coalesce(a.user_id, pg_temp.person(pg_temp.draw(d.n, 41, pg_temp.people(), 1.7))), a.id,
    one.sentence || coalesce(' ' || two.sentence, '') || coalesce(' ' || three.sentence, '')
        || CASE WHEN common THEN ' ' || pg_temp.common_word() ELSE '' END
        || CASE WHEN rare THEN ' ' || pg_temp.rare_word() ELSE '' END
        || CASE WHEN old THEN ' ' || pg_temp.old_word() ELSE '' END,
    d.visibility,
    CASE WHEN d.n % 2 = 0 THEN ARRAY['t' || pg_temp.draw(d.n, 43, 500, 3)] ELSE '{}' END
        || CASE WHEN common THEN ARRAY[pg_temp.common_tag()] END
        || CASE WHEN rare THEN ARRAY[pg_temp.rare_tag()] END
        || CASE WHEN old THEN ARRAY[pg_temp.old_tag()] END,
    likes, coalesce(comments, 0),
    CASE WHEN d.n % 997 = 5 THEN at END,
    CASE WHEN d.n % 499 = 6 THEN at END,
    CASE WHEN d.n % 50 = 9 THEN at END,
    CASE WHEN d.n % 50 = 9 THEN 'moderator' END,
    at, at
FROM drafts d
JOIN liked USING (n)
CROSS JOIN LATERAL (SELECT pg_temp.at(d.ms) AS at)
LEFT JOIN discussed USING (n)
LEFT JOIN active a ON a.n = d.circle AND a.k = pg_temp.draw(d.n, 44, a.number)
JOIN sentences one ON one.n = pg_temp.draw(d.n, 45, 5000)
LEFT JOIN sentences two ON two.n = pg_temp.draw(d.n, 46, 7500)
LEFT JOIN sentences three ON three.n = pg_temp.draw(d.n, 47, 7500)
ORDER BY d.n;

INSERT INTO post_likes (post_id, user_id, created_at)
SELECT id,
    pg_temp.person((pg_temp.draw(n, 51, pg_temp.people()) + k * 7) % pg_temp.people()),
    pg_temp.at(ms + k * 1000)
FROM liked, generate_series(0, likes - 1) k;

INSERT INTO post_comments (id, post_id, user_id, parent_comment_id, depth, path, content,
    deleted_at, removed_at, removed_by, created_at, updated_at)
SELECT path[cardinality(path)], d.id,
    pg_temp.person(pg_temp.draw(r.n, 52, pg_temp.people(), 1.7)), path[cardinality(path) - 1],
    cardinality(path) - 1, path, CASE WHEN tombstone IS NULL THEN sentence END,
    CASE tombstone WHEN 'deleted' THEN at END,
    CASE tombstone WHEN 'removed' THEN at END,
    CASE tombstone WHEN 'removed' THEN 'moderator' END, at, at
FROM remarks r
JOIN drafts d ON d.n = post
JOIN sentences s ON s.n = r.n % 5000
CROSS JOIN LATERAL (
    SELECT ARRAY(SELECT pg_temp.comment_key(first + step) FROM unnest(line) step) AS path,
        pg_temp.at(pg_temp.moment(r.n::float8 / pg_temp.comments())) AS at
    OFFSET 0  -- computed once for each row
)
ORDER BY r.n;

-- Conversations, four of five between two people; no pair stands at the same distance twice.
-- The person 0 takes part in the first of both kinds.
CREATE TEMP TABLE talks AS
SELECT n, pg_temp.key(pg_temp.moment(0), 'v' || n) AS id, type, people,
    least(1 / sqrt(pg_temp.chance(n, 61) + 0.0001), 100) AS weight,
    pg_temp.moment(begun) AS begun, pg_temp.moment(begun + 0.1) AS ended
FROM generate_series(0, pg_temp.conversations() - 1) n, LATERAL (
    SELECT CASE WHEN n < pg_temp.conversations() * 8 / 10 THEN 'direct' ELSE 'group' END AS type,
        n - pg_temp.conversations() * 8 / 10 AS nth, pg_temp.people() - 1 AS others,
        0.9 * pg_temp.chance(n, 62) AS begun
), LATERAL (
    SELECT CASE WHEN n < pg_temp.conversations() * 6 / 100 THEN ARRAY[0, n + 1]
        WHEN type = 'direct'
            THEN ARRAY[1 + n % others, 1 + (n % others + 1 + n / others) % others]
        ELSE ARRAY(SELECT 1 + (n * 31 + k * 17) % others
                   FROM generate_series(1, 3 + pg_temp.draw(n, 63, 57, 3)) k)
            || CASE WHEN nth < pg_temp.conversations() * 2 / 100 THEN ARRAY[0::bigint] END
        END AS people
);

CREATE TEMP TABLE lines AS
SELECT n, id, type, people, begun, ended,
    reached_messages - lag(reached_messages, 1, 0::bigint) OVER (ORDER BY n) AS messages
FROM (
    SELECT *, floor(pg_temp.messages() * sum(weight) OVER (ORDER BY n) / sum(weight) OVER ())
        ::bigint AS reached_messages
    FROM talks
);
ANALYZE lines;

INSERT INTO conversations (id, type, name, direct_key, created_by, last_sequence,
    last_message_at, created_at, updated_at)
SELECT id, type, CASE type WHEN 'group' THEN initcap(word) END,
    CASE type WHEN 'direct' THEN length(a) || ':' || least(a, b) || ':' || greatest(a, b) END,
    a, messages, CASE WHEN messages > 0 THEN pg_temp.at(ended) END, pg_temp.at(begun),
    pg_temp.at(ended)
FROM lines l
JOIN words w ON w.n = l.n % 1000
CROSS JOIN LATERAL (
    SELECT pg_temp.person(people[1]) COLLATE "C" AS a, pg_temp.person(people[2]) COLLATE "C" AS b
)
ORDER BY l.n;

-- Most have read everything. The person 0 is behind everywhere, and reads some never.
INSERT INTO conversation_participants (conversation_id, user_id, last_read_sequence, joined_at,
    left_at)
SELECT id, pg_temp.person(who),
    greatest(0, messages - floor(CASE
        WHEN who = 0 AND chance < 0.1 THEN messages WHEN who = 0 THEN 600 * chance
        WHEN chance < 0.6 THEN 0 WHEN chance < 0.9 THEN 60 * (chance - 0.6)
        ELSE 5000 * (chance - 0.9) END)::bigint),
    pg_temp.at(begun),
    CASE WHEN type = 'group' AND who > 0 AND pg_temp.chance(n * 5000 + who, 72) < 0.04
        THEN pg_temp.at(ended) END
FROM lines, unnest(people) who,
    LATERAL (SELECT pg_temp.chance(n * 5000 + who, 71) AS chance)
ORDER BY n;

-- In the order of time, so that the messages of a conversation lie far from each other.
INSERT INTO messages (id, conversation_id, sender_id, sequence, content, flags, client_key,
    deleted_at, created_at, updated_at)
SELECT pg_temp.key(ms, 'm' || number), l.id,
    pg_temp.person(people[1 + pg_temp.draw(number, 81, cardinality(people))]), sequence,
    CASE WHEN NOT gone THEN sentence END,
    CASE WHEN number % 2003 = 1 AND NOT gone THEN jsonb_build_array(jsonb_build_object(
        'user_id', pg_temp.person(people[1]), 'reason', NULL, 'created_at', at)) ELSE '[]' END,
    CASE WHEN number % 3 = 0 THEN md5(number::text) END, CASE WHEN gone THEN at END, at, at
FROM lines l
CROSS JOIN generate_series(1, messages) sequence
CROSS JOIN LATERAL (
    SELECT l.n * 1000000 + sequence AS number,
        begun + ((ended - begun) * sequence / messages) AS ms
)
CROSS JOIN LATERAL (
    SELECT pg_temp.chance(number, 82) < 0.01 AS gone, pg_temp.at(ms) AS at OFFSET 0
)
JOIN sentences s ON s.n = number % 5000
ORDER BY ms, number;

INSERT INTO activity_logs (id, user_id, action, entity_type, entity_id, metadata, ip_address,
    created_at)
SELECT pg_temp.key(ms, 'a' || n),
    pg_temp.person(pg_temp.draw(n, 91, pg_temp.people(), 1.7)), action,
    split_part(action, '.', 1),
    CASE WHEN action LIKE 'post.%'
        THEN pg_temp.post_key(pg_temp.draw(n, 93, pg_temp.posts()))::text
        ELSE pg_temp.comment_key(pg_temp.draw(n, 93, pg_temp.comments()))::text END,
    '{"fields": ["content"]}', '10.0.0.0'::inet + n % 65000, pg_temp.at(ms)
FROM generate_series(0, pg_temp.logs() - 1) n, LATERAL (
    SELECT pg_temp.moment(n::float8 / pg_temp.logs()) AS ms
), LATERAL (
    SELECT CASE WHEN n % (pg_temp.logs() / 10) = 1 THEN pg_temp.rare_action()
        ELSE (ARRAY['post.like', 'comment.create', 'post.create', 'message.edit', 'post.unlike',
            'group.join', 'post.update', 'profile.update'])[1 + pg_temp.draw(n, 92, 8, 2)]
        END AS action
)
ORDER BY n;
