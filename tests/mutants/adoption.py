"""The guards of `operations/adoption/`: nothing is lost, doubled, or somebody else's."""

from __future__ import annotations

from tests.mutants.mutation import Mutation

RUN = "adoption/test_run.py"
PLAN = "adoption/test_plan.py"
CATCH_UP = "adoption/test_catch_up.py"
SWITCH = "adoption/test_switch.py"
FINISH = "adoption/test_finish.py"
READS = "adoption/test_reads.py"

_FOLDER = "operations/adoption"
_MIGRATION = "registry/migrations/0005_adoption.py"

MUTATIONS = (
    Mutation(
        "adoption: both sides are compared after a copy",
        f"{_FOLDER}/filling.py",
        "    check_same(there, target_digests(connection, tables), key, schema)\n",
        "",
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: both sides are compared after a pass",
        f"{_FOLDER}/catching_up.py",
        "    check_same(there, target_digests(connection, others), key, schema)\n",
        "",
        (CATCH_UP,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a checksum covers the rows, and not their number alone",
        f"{_FOLDER}/filling.py",
        "if here.get(name) != digest]",
        "if here[name].rows != digest.rows]",
        (CATCH_UP, "adoption/test_verify.py"),
        needs_slow=True,
    ),
    Mutation(
        "adoption: foreign keys are away while tables are filled",
        f"{_FOLDER}/filling.py",
        "    with filling(connection, schema, sizes):\n",
        "    if sizes:\n",
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: foreign keys are away while changes are brought along",
        f"{_FOLDER}/catching_up.py",
        "    with filling(connection, schema, []):\n",
        "    if tables:\n",
        (CATCH_UP,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: the rows are those of the organization",
        f"{_FOLDER}/tables.py",
        '        if self.route.column is None:\n            return sql.SQL("")\n',
        '        if True:\n            return sql.SQL("")\n',
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: the rows of a table on the way are those of the one before",
        f"{_FOLDER}/tables.py",
        'sql.SQL("x.{} = {}")',
        'sql.SQL("x.{} IS NOT NULL OR {} IS NULL")',
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: an index leads to the rows",
        f"{_FOLDER}/filling.py",
        'connection.exec_driver_sql("SET LOCAL enable_seqscan TO off")',
        "pass",
        (READS,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: the journal knows what was copied",
        f"{_FOLDER}/copying.py",
        "        journal.write_copied(\n"
        "            connection, mapping.source, one.key, made, mapping.digest, read, here, "
        "moment\n"
        "        )\n",
        "",
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a copy is made anew that another mapping made",
        f"{_FOLDER}/working.py",
        "entry.mapping != self.mapping.digest or ",
        "",
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a copy that somebody opened is left alone",
        f"{_FOLDER}/working.py",
        "        if organization.status is not OrganizationStatus.FENCED:\n",
        "        if False:\n",
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: nobody works in a copy",
        f"{_FOLDER}/copying.py",
        "    set_rights(connection, builder.database, fenced, is_open=False)\n",
        "",
        (RUN,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a switch waits for those who have written",
        f"{_FOLDER}/switching.py",
        "        began = time.monotonic()\n        journal.hold(connection, mapping.source, key)\n",
        "        began = time.monotonic()\n",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: late writes are refused",
        _MIGRATION,
        "    IF FOUND THEN\n        RAISE EXCEPTION 'organization",
        "    IF false THEN\n        RAISE EXCEPTION 'organization",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a writer takes the lock of the organization",
        _MIGRATION,
        "    PERFORM orgtenancy.adoption_lock(p_source, p_key, false);\n",
        "",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a snapshot older than a switch writes nothing after it",
        _MIGRATION,
        "    PERFORM orgtenancy.see_switches(p_source);\n    SELECT",
        "    SELECT",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a switch changes the row of its source",
        f"{_FOLDER}/journal.py",
        ".values(switches=adoptions.c.switches + 1)",
        ".values(source=source).where(adoptions.c.source.is_(None))",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: what all organizations get is not written after a switch",
        _MIGRATION,
        "        SELECT FROM orgtenancy.adopted WHERE source = p_source AND switched_at",
        "        SELECT FROM orgtenancy.adopted WHERE false AND switched_at",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: both organizations of a row that goes from one to the other are looked at",
        f"{_FOLDER}/fencing.py",
        "            IF TG_OP <> 'INSERT' THEN\n",
        "            IF TG_OP = 'DELETE' THEN\n",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: replication does not come past the fence",
        f"{_FOLDER}/fencing.py",
        "ENABLE ALWAYS TRIGGER",
        "ENABLE TRIGGER",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: a switch is reverted only while nothing was written here",
        f"{_FOLDER}/switching.py",
        "        if written := different_tables(entry.switched_digests, here):\n",
        "        if written := []:\n",
        (SWITCH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: the end is refused while an organization is not switched",
        f"{_FOLDER}/finishing.py",
        "        _check_switched(found, mapping)\n",
        "",
        (FINISH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: the end is refused while rows are nobody's",
        f"{_FOLDER}/finishing.py",
        "        if left_over and not accept_left_over:\n",
        "        if False:\n",
        (FINISH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: the end is refused when the source was written past the fence",
        f"{_FOLDER}/finishing.py",
        "        _check_unwritten(connection, database, resolved.tables, found)\n",
        "",
        (FINISH,),
        needs_slow=True,
    ),
    Mutation(
        "adoption: several ways are refused",
        f"{_FOLDER}/routes.py",
        "        if len(ways) > 1:\n",
        "        if False:\n",
        (PLAN,),
        needs_slow=True,
    ),
)
