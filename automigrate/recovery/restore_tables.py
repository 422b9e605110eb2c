"""Bring the rows of some tables back, where the schema is the one that they were saved from.

The tables stay what they are; their rows are replaced. Foreign keys of and to them are taken off
and put on again, which checks them: a row elsewhere that would refer to nothing fails the whole.
Triggers do not fire. A sequence never goes back, because numbers that were given out may be known
outside; it goes forward where the table was made anew since.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from automigrate.errors import BackupError, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automigrate.database.session import Look, Session
    from automigrate.recovery.manifest import Manifest

__all__ = ["after", "before", "data_of", "require_heads", "sequences_of"]

KINDS = """\
select given.name, c.relkind::text
from unnest(%s::text[]) as given(name) left join pg_class c on c.oid = to_regclass(given.name)"""

# `on_it`: the tables, and the partitioned ones above them, which hold their keys.
FOREIGN_KEYS = """\
with listed as (select to_regclass(name) as oid from unnest(%s::text[]) as given(name)),
on_it as (select oid from listed
  union select a.relid from listed, pg_partition_ancestors(listed.oid) a)
select format('alter table %%s drop constraint %%I', k.conrelid::regclass, k.conname),
  format('alter table %%s add constraint %%I %%s', k.conrelid::regclass, k.conname,
    pg_get_constraintdef(k.oid)),
  format('comment on constraint %%I on %%s is %%L', k.conname, k.conrelid::regclass,
    obj_description(k.oid, 'pg_constraint')),
  obj_description(k.oid, 'pg_constraint') is not null
from pg_constraint k
where k.contype = 'f' and k.conparentid = 0
  and (k.conrelid in (select oid from on_it) or k.confrelid in (select oid from on_it))
order by k.oid"""

TRIGGERS = """\
select format('alter table %%s disable trigger %%I', t.tgrelid::regclass, t.tgname),
  format('alter table %%s enable %%strigger %%I', t.tgrelid::regclass,
    case t.tgenabled when 'A' then 'always ' when 'R' then 'replica ' else '' end, t.tgname)
from pg_trigger t join unnest(%s::text[]) as given(name) on t.tgrelid = to_regclass(given.name)
where not t.tgisinternal and t.tgenabled <> 'D' order by t.oid"""

# ALTER SEQUENCE is undone with its transaction, setval() is not (manual, 9.17).
FORWARD = """\
select 'alter sequence {quoted} restart with {next}' from {name}
where last_value + is_called::int < {next} \\gexec
"""

_SETVAL = re.compile(
    r"^SELECT pg_catalog\.setval\('((?:[^']|'')+)', (\d+), (true|false)\);$", re.MULTILINE
)


def require_heads(path: str, manifest: Manifest, look: Look) -> None:
    """Refuse where the tables may be others than those that were saved.

    Raises:
        BackupError: the database is at another revision.
    """
    if set(manifest.heads) == set(look.heads):
        return
    target = " ".join(sorted(manifest.heads)) or "base"
    raise BackupError(
        reason=f"{path} holds the tables {names(manifest.tables)} as they were at revision "
        f"{names(manifest.heads)}, and the database is at {names(look.heads)}",
        remedy=f"Go to that revision first: `automigrate rollback --to {target} "
        "--allow-data-loss` (its losses are what this backup brings back), or upgrade to it. "
        "Where it cannot be undone, read the backup into another database with pg_restore.",
    )


def before(session: Session, manifest: Manifest) -> list[str]:
    """Return the statements that make room.

    Raises:
        BackupError: a table is missing.
    """
    connection = session.connection
    kinds = dict(connection.execute(KINDS, (list(manifest.tables),)).fetchall())
    missing = sorted(name for name, kind in kinds.items() if kind is None)
    if missing:
        raise BackupError(
            reason=f"the tables {names(missing)} are not in the database, though it is at the "
            "revision of the backup",
            remedy="`automigrate diff` shows how the schema differs from its revision.",
        )
    filled = ", ".join(f"only {name}" for name, kind in sorted(kinds.items()) if kind == "r")
    keys, triggers = _attached(session, manifest.tables)
    return [
        f"lock table {', '.join(sorted(kinds))} in access exclusive mode",
        *(key[0] for key in keys),
        *(trigger[0] for trigger in triggers),
        *([f"truncate {filled}"] if filled else []),
    ]


def after(session: Session, manifest: Manifest, sequences: str) -> str:
    """Return the psql script that puts back what `before` took off.

    Args:
        session: sees the tables as they were before.
        manifest: of the backup.
        sequences: SQL of pg_restore for the sequences alone.
    """
    keys, triggers = _attached(session, manifest.tables)
    statements = [trigger[1] for trigger in triggers]
    for _, add, comment, commented in keys:
        statements += [add, comment] if commented else [add]
    forward = [
        FORWARD.format(
            quoted=name, name=name.replace("''", "'"), next=int(value) + (called == "true")
        )
        for name, value, called in _SETVAL.findall(sequences)
    ]
    return "".join(f"{statement};\n" for statement in statements) + "".join(forward)


def data_of(contents: Iterable[str]) -> list[str]:
    """Choose the rows from a table of contents."""
    return [line for line in contents if " TABLE DATA " in line]


def sequences_of(contents: Iterable[str]) -> list[str]:
    """Choose the states of sequences from a table of contents."""
    return [line for line in contents if " SEQUENCE SET " in line]


def _attached(
    session: Session, tables: Sequence[str]
) -> tuple[list[tuple[str, str, str, bool]], list[tuple[str, str]]]:
    """Return foreign keys and triggers, each as the statements that take it off and put it on."""
    connection = session.connection
    with connection.transaction():
        # What pg_restore writes runs without one as well: every name has to be qualified.
        connection.execute("set local search_path = ''")
        keys = connection.execute(FOREIGN_KEYS, (list(tables),)).fetchall()
        triggers = connection.execute(TRIGGERS, (list(tables),)).fetchall()
    return keys, triggers
