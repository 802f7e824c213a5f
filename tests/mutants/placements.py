"""The guards of organizations on several servers, and on their way from one to another."""

from __future__ import annotations

from tests.mutants.mutation import Mutation

MIGRATION = "registry/migrations/0004_placements.py"
STEPS = "operations/moving/steps.py"
COPYING = "operations/moving/copying.py"
MOVER = "operations/moving/mover.py"

ONE_PLACE = "placements/test_one_place.py"
ORGANIZATIONS = "placements/test_organizations.py"
POLICIES = "placements/test_policies.py"
MOVE = "placements/test_move.py"
LOAD = "placements/test_move_under_load.py"

MUTATIONS = (
    Mutation(
        "the control server takes no id that is on another placement",
        MIGRATION,
        "    IF FOUND THEN\n        RAISE EXCEPTION 'organization % is on placement %'",
        "    IF false THEN\n        RAISE EXCEPTION 'organization % is on placement %'",
        (ONE_PLACE,),
    ),
    Mutation(
        "no placement takes an id that the control server has",
        MIGRATION,
        "IF EXISTS (SELECT FROM orgtenancy.organizations WHERE id = NEW.organization_id)",
        "IF false",
        (ONE_PLACE,),
    ),
    Mutation(
        "a reservation is locked while it is filled",
        "registry/locations.py",
        "            name = find(connection, organization_id, lock=True)\n"
        "            if name == database.name:",
        "            name = find(connection, organization_id)\n"
        "            if name == database.name:",
        (ONE_PLACE,),
        needs_slow=True,
    ),
    Mutation(
        "what is between two placements is not made anew",
        "registry/locations.py",
        "if _is_moving(connection, organization_id) and not _has(database, organization_id):",
        "if False:",
        (MOVE,),
        needs_slow=True,
    ),
    Mutation(
        "each placement that is used is listened to",
        "tenancy.py",
        "        if self.settings.listen:\n",
        "        if self.settings.listen and database is self._database:\n",
        (ORGANIZATIONS,),
        needs_slow=True,
    ),
    Mutation(
        "a database is one placement",
        "schemas/installation.py",
        "    if known != name:\n",
        "    if False:\n",
        (POLICIES,),
        needs_slow=True,
    ),
    Mutation(
        "a placement that is full takes no organization",
        "schemas/placing/choosing.py",
        "        if limit is not None and found.organizations >= limit:\n",
        "        if False:\n",
        (POLICIES,),
        needs_slow=True,
    ),
    Mutation(
        "the rights on the source are gone before the last changes are copied",
        STEPS,
        "            set_rights(connection, database, found, is_open=False)\n",
        "",
        (LOAD,),
        needs_slow=True,
    ),
    Mutation(
        "nobody writes any more when the last changes are copied",
        MOVER,
        '            drain(source, fenced, source.settings.fence_timeout, operation="move")\n',
        "",
        (MOVE, LOAD),
        needs_slow=True,
    ),
    Mutation(
        "a copy has no rights until it is the organization",
        COPYING,
        "    grants.execute(connection, shut, one_by_one=builder.database.has_citus)\n",
        "",
        (LOAD,),
        needs_slow=True,
    ),
    Mutation(
        "both sides are compared before the switch",
        COPYING,
        "    if left := differing(",
        "    if False and differing(",
        (MOVE,),
        needs_slow=True,
    ),
    Mutation(
        "a copy of other revisions is not used",
        COPYING,
        "            if heads_of(here, organization.schema_name) != heads_of(there, schema):\n",
        "            if False:\n",
        (MOVE,),
        needs_slow=True,
    ),
    Mutation(
        "nobody changes what is in the last part of a move",
        "operations/lifecycle/changing.py",
        '    check_is_staying(organization, "change")\n',
        "",
        (MOVE,),
        needs_slow=True,
    ),
    Mutation(
        "what is on the target is not taken back",
        "operations/moving/journal.py",
        "    Phase.UNDOING: (Phase.COPYING, Phase.FENCING, Phase.UNDOING),\n",
        "    Phase.UNDOING: tuple(Phase),\n",
        (MOVE,),
        needs_slow=True,
    ),
    Mutation(
        "a move that fails is undone",
        MOVER,
        "            self._undo_if_not_switched(move)\n",
        "            pass\n",
        (MOVE,),
        needs_slow=True,
    ),
    Mutation(
        "one at a time moves an organization",
        MOVER,
        "        if not lock.acquire():\n",
        "        if not lock.acquire() and False:\n",
        (MOVE,),
        needs_slow=True,
    ),
)
