"""The guards of backups, restores and erasures."""

from __future__ import annotations

from tests.mutants.mutation import Mutation

DAMAGE = ("backup/test_damage.py",)
RESTORE = ("backup/test_restore.py",)
SNAPSHOTS = ("backup/test_snapshots.py",)
KILLED = ("backup/test_killed.py",)
FLEET = ("backup/test_fleet.py",)
ERASURE = ("backup/test_erasure.py",)

_WRITE = "operations/backup/writing.py"
_RESTORE = "operations/backup/restoring.py"
_SNAPSHOT = "operations/data/snapshots.py"
_ERASE = "operations/erasure/erasing.py"

MUTATIONS = (
    Mutation(
        "a seal is compared with what was read",
        "operations/backup/archive.py",
        "if seal.sha256 != self._digest.hexdigest() or raw != _seal_member(seal):",
        "if raw != _seal_member(seal):",
        DAMAGE,
    ),
    Mutation(
        "nothing comes behind a seal",
        "operations/backup/archive.py",
        "if self._read(len(_END) + 1, is_last=True) != _END:",
        "if self._read(len(_END), is_last=True) != _END:",
        DAMAGE,
    ),
    Mutation(
        "pieces of rows come in their order",
        "operations/backup/reading.py",
        "if not is_next or name != piece_name(folder, number):",
        "if not is_next:",
        DAMAGE,
    ),
    Mutation(
        "all tables of a manifest have their rows",
        "operations/backup/reading.py",
        "if not needed <= self._pieces.keys() <= set(folders.values()):",
        "if not self._pieces.keys() <= set(folders.values()):",
        DAMAGE,
    ),
    Mutation(
        "a part has the seal that the whole knows",
        "operations/backup/reading.py",
        "if archive.seal is None or archive.seal.sha256 != sha256:",
        "if archive.seal is None:",
        DAMAGE,
    ),
    Mutation(
        "a part is no path",
        "operations/backup/reading.py",
        "if self._manifest is None or part not in self._part_names(self._manifest):",
        "if self._manifest is None:",
        DAMAGE,
    ),
    Mutation(
        "a piece takes no more memory than any does",
        "operations/backup/pieces.py",
        "if zstd.get_frame_parameters(piece).content_size > _MAX_SIZE:",
        "if False:",
        DAMAGE,
    ),
    Mutation(
        "what was restored is compared with what was backed up",
        _RESTORE,
        "    if others:\n",
        "    if False:\n",
        DAMAGE,
    ),
    Mutation(
        "tables and columns are those of the backup",
        _RESTORE,
        "        if were.get(name) != are.get(name):\n",
        "        if False:\n",
        (*DAMAGE, *RESTORE),
    ),
    Mutation(
        "what revisions wrote is not mixed with what is restored",
        _RESTORE,
        "    empty(connection, tables)  # revisions may have written rows\n",
        "",
        RESTORE,
    ),
    Mutation(
        "who was shut out stays out",
        _RESTORE,
        "        if was.status not in _OPEN:\n",
        "        if False:\n",
        RESTORE,
    ),
    Mutation(
        "a schema that is shut is shut in the database",
        _RESTORE,
        "            if not organization.is_active:\n",
        "            if False:\n",
        RESTORE,
    ),
    Mutation(
        "sequences go on where they were",
        _RESTORE,
        "    set_sequences(connection, schema, manifest.sequences)\n",
        "",
        RESTORE,
    ),
    Mutation(
        "a file gets its name when it is whole",
        "operations/backup/places.py",
        'partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")\n'
        "    try:\n        with open",
        "partial = path\n    try:\n        with open",
        KILLED,
        needs_slow=True,
    ),
    Mutation(
        "nothing is replaced by a backup",
        "operations/backup/places.py",
        "    if path.exists() or path.is_symlink():\n",
        "    if False:\n",
        RESTORE,
    ),
    Mutation(
        "half of what is dropped is not backed up",
        _WRITE,
        "        ensure_whole(control, organization)\n",
        "",
        RESTORE,
    ),
    Mutation(
        "all tables are of one moment",
        _SNAPSHOT,
        "ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "ISOLATION LEVEL READ COMMITTED, READ ONLY",
        SNAPSHOTS,
        needs_slow=True,
    ),
    Mutation(
        "workers see the same moment",
        _SNAPSHOT,
        '[_BEGIN, sql.SQL("SET TRANSACTION SNAPSHOT {}").format(name)]',
        "[_BEGIN]",
        SNAPSHOTS,
        needs_slow=True,
    ),
    Mutation(
        "tables are locked while they are read",
        _SNAPSHOT,
        "[_BEGIN, _LIMIT, *_locks(schema, names)]",
        "[_BEGIN, _LIMIT]",
        SNAPSHOTS,
    ),
    Mutation(
        "tables are locked before the snapshot is taken",
        _SNAPSHOT,
        "[_BEGIN, _LIMIT, *_locks(schema, names)]",
        '[_BEGIN, _LIMIT, sql.SQL("SELECT 1"), *_locks(schema, names)]',
        SNAPSHOTS,
    ),
    Mutation(
        "policies leave no row out",
        "operations/data/tables.py",
        '    "row_security TO off",\n',
        "",
        SNAPSHOTS,
    ),
    Mutation(
        "values look the same on every server",
        "operations/data/tables.py",
        '    "TimeZone TO \'UTC\'",\n    "extra_float_digits TO 1",\n',
        "",
        RESTORE,
    ),
    Mutation(
        "who changed is backed up again",
        "operations/backup/shelves.py",
        "newest.fingerprint == fingerprint else None",
        "newest.fingerprint is not None else None",
        FLEET,
    ),
    Mutation(
        "a backup that was cut off is no reason to skip",
        "operations/backup/shelves.py",
        "    if (note.file, note.size) != (path.name, size):\n        return bare\n",
        "",
        FLEET,
    ),
    Mutation(
        "the newest backup stays",
        "operations/backup/shelves.py",
        "if (number > 0 or all_may_go) and (is_old or is_too_many):",
        "if is_old or is_too_many:",
        FLEET,
    ),
    Mutation(
        "backups of what the registry does not know stay",
        "operations/backup/fleet.py",
        "        if shelf.organization_id in ids:\n",
        "        if True:\n",
        FLEET,
    ),
    Mutation(
        "the journal has no secret",
        "operations/backup/manager.py",
        "tuple(public_keys(key))",
        "(key,) if isinstance(key, str) else tuple(key)",
        FLEET,
    ),
    Mutation(
        "an erasure searches everything at its end",
        _ERASE,
        "if refused := [one.label for one in left if one.label not in ignoring]:",
        "if refused := [one.label for one in left if one.label not in ignoring][:0]:",
        ERASURE,
    ),
    Mutation(
        "nobody writes during an erasure",
        _ERASE,
        "        _keep_writers_out(connection, tables)\n",
        "",
        ERASURE,
    ),
    Mutation(
        "modules forget what is personal",
        _ERASE,
        "                module.erase(session, *names)\n",
        "                pass\n",
        ERASURE,
    ),
    Mutation(
        "triggers write down nobody who is erased",
        _ERASE,
        "            without_triggers(connection, schema),\n",
        "",
        ERASURE,
    ),
    Mutation(
        "statistics forget who is erased",
        _ERASE,
        "        analyze(connection, tables)\n",
        "",
        ERASURE,
    ),
    Mutation(
        "materialized views forget who is erased",
        _ERASE,
        "        refresh_views(connection, schema)\n",
        "",
        ERASURE,
    ),
    Mutation(
        "members forget who is erased",
        _ERASE,
        "            remove_member(connection, organization_id)\n",
        "",
        ERASURE,
    ),
    Mutation(
        "people who erase themselves are not in the audit of it",
        _ERASE,
        "acting(pseudonym if is_self else actor, current_origin())",
        "acting(actor, current_origin())",
        ERASURE,
    ),
    Mutation(
        "another organization keeps its audit",
        "operations/erasure/registry.py",
        'sql.SQL("{} = {}").format(',
        'sql.SQL("({0} = {1} OR {0} <> {1})").format(',
        ERASURE,
    ),
    Mutation(
        "no statement shows who is erased",
        "operations/erasure/sought.py",
        'PERSON = sql.SQL("(SELECT person FROM {})").format(_TABLE)',
        "PERSON = sql.SQL(\"'somebody-7f3a'::text\")",
        ERASURE,
        needs_slow=True,
    ),
)
