"""The journal's tables: whether they are there, and how they are made or brought to today's form.

Two: the journal, and beside it one with a row for each row of the journal that is open (`running`
or `failed`). Every start asks for these. A server process that was just made has to load whatever
the catalogs know of a table before it reads from it, and of the journal they know a lot; so the
other one has no index, no default and no constraint that it could do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import errors, sql

from automigrate.database.session import ASYNCHRONOUS, JOURNAL_TABLE, OPEN_TABLE

if TYPE_CHECKING:
    import psycopg

__all__ = ["CLOSE", "Form", "JournalTables"]


class Form(NamedTuple):
    """The answer to `FORM`."""

    journal: str
    """`missing`, `older` or `present`, which is as of today."""
    open_rows: str
    """`missing`, `present`, or `denied`: it is missing, and not this role's to make."""


# `restore_lsn` is text: SQLAlchemy does not know pg_lsn, and would warn in every autogenerate.
# The columns of `ADD` came later; a row without `version_table` may be of any.
FORM = """\
select case when t.oid is null then 'missing' when exists (
  select from pg_attribute a where a.attrelid = t.oid and a.attname = 'version_table'
    and not a.attisdropped) then 'present' else 'older' end,
  case when o.oid is not null then 'present' when t.oid is null or exists (
    select from pg_class c where c.oid = t.oid
      and (pg_get_userbyid(c.relowner) = current_user or current_setting('is_superuser') = 'on')
      and has_schema_privilege(c.relnamespace, 'create')) then 'missing' else 'denied' end
from (select to_regclass(%s) as oid) t, (select to_regclass(%s) as oid) o"""

CREATE = """\
create table {journal} (
  id bigint generated always as identity primary key,
  revision text not null,
  down_revisions text[] not null,
  direction text not null check (direction in ('upgrade', 'downgrade', 'stamp')),
  state text not null check (state in ('running', 'applied', 'failed', 'reverted')),
  phase text not null default 'transaction',
  compatible boolean not null default true,
  checksum text,
  downgrade_sql text,
  downgrade_signature text,
  downgrade_obstacle text,
  progress jsonb,
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  instance_host text not null,
  instance_pid integer not null,
  application_version text,
  automigrate_version text not null,
  error text,
  version_table text,
  backup text,
  restore_point text,
  restore_lsn text
)"""

ADD = """\
alter table {journal} add column if not exists version_table text,
  add column if not exists backup text, add column if not exists restore_point text,
  add column if not exists restore_lsn text"""

# For the look, and for FINISH: both ask for open rows, of which there are next to none.
INDEX = """\
create index automigrate_journal_open on {journal} (revision)
where state in ('running', 'failed')"""

COMMENT = """\
comment on table {journal} is 'Written by automigrate: one row per application of a revision. \
The version table stays the truth; plain Alembic works without this one.'"""

CREATE_OPEN = """\
create table {open} (entry bigint not null, revision text not null, version_table text)"""

# A publication for all tables refuses to delete from a table whose rows have no identity.
IDENTIFY_OPEN = "alter table {open} replica identity full"

COMMENT_OPEN = """\
comment on table {open} is 'Written by automigrate: the rows of automigrate_journal that are \
running or failed, and nothing else. Every start of the application asks for them.'"""

# Whoever may read or write the journal has to read or write the open rows.
LIKE_JOURNAL = """\
select format('alter table %%s owner to %%s', o.oid::regclass, j.relowner::regrole)
from pg_class j, pg_class o
where j.oid = to_regclass(%(journal)s) and o.oid = to_regclass(%(open)s)
  and o.relowner <> j.relowner
union all
select format('grant %%s on %%s to %%s', case privilege_type when 'UPDATE' then 'delete'
  else lower(privilege_type) end, to_regclass(%(open)s),
  case grantee when 0 then 'public' else grantee::regrole::text end)
from pg_class, aclexplode(relacl)
where oid = to_regclass(%(journal)s) and grantee <> relowner
  and privilege_type in ('SELECT', 'INSERT', 'UPDATE')"""

AGREE = (
    """\
delete from {open} o where not exists (select from {journal} j
  where j.id = o.entry and j.revision = o.revision and j.state in ('running', 'failed'))""",
    """\
insert into {open} select j.id, j.revision, to_jsonb(j) ->> 'version_table' from {journal} j
where j.state in ('running', 'failed')
  and not exists (select from {open} o where o.entry = j.id)""",
)
"""Brings the open rows into agreement with a journal that came from elsewhere."""

_JOURNAL = {"missing": (CREATE, INDEX, COMMENT), "older": (ADD,), "present": ()}
_OPEN_ROWS = {
    "missing": (CREATE_OPEN, IDENTIFY_OPEN, COMMENT_OPEN),
    "present": (),
    "denied": (),
}


# What stands around a statement that leaves a row open.
OPENED = {
    "opening": "with written as (",
    "opened": """ returning id, revision, version_table),
opened as (insert into {open} select id, revision, version_table from written
  where not exists (select from {open} where entry = written.id))
select id from written""",
}
NOT_OPENED = {"opening": "", "opened": " returning id"}
"""The same without the table of open rows."""

# Follows what may have closed a row, and takes any that was left along.
CLOSE = """\
delete from {open} where {ours} and not exists (
  select from {journal} j where j.id = entry and j.state in ('running', 'failed'))"""

OURS = "(version_table is null or version_table = {table})"


class JournalTables:
    """The tables of one schema, and the statements on them.

    Args:
        connection: a session.
        schema: where they are.
        version_table: of whose rows the statements speak.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, version_table: str
    ) -> None:
        self._connection = connection
        self._journal = sql.Identifier(schema, JOURNAL_TABLE)
        self._open_rows = sql.Identifier(schema, OPEN_TABLE)
        self._version_table = version_table
        self._form: Form | None = None
        self._composed: dict[str, bytes] = {}

    def look(self) -> Form:
        """See what is there."""
        names = (self._text(self._journal), self._text(self._open_rows))
        row = self._connection.execute(FORM, names).fetchone()
        assert row is not None
        found = Form._make(row)
        if found != self._form:
            self._form = found
            self._composed.clear()
        return found

    @property
    def opens(self) -> bool:
        """Whether there is the table of open rows, as far as was seen."""
        form = self._form or self.look()
        return form.open_rows == "present"

    def create(self, *, durable: bool = True) -> None:
        """Bring them to today's form; see `Journal.create`."""
        try:
            self._bring_up(durable=durable)
        except (errors.DuplicateTable, errors.UniqueViolation):
            # A run on another version table of the schema, under a lock of its own, was faster.
            self._bring_up(durable=durable)

    def _bring_up(self, *, durable: bool) -> None:
        form = self.look()
        statements = [self.compose(text) for text in _changes(form)]
        if not statements:
            return
        if not durable:
            statements.insert(0, ASYNCHRONOUS.encode())
        with self._connection.transaction():
            self._connection.execute(b";\n".join(statements))
            if form.journal != "missing" and form.open_rows == "missing":
                self._let_in()
        self.look()

    def _let_in(self) -> None:
        """Let in to the open rows whom the journal lets in."""
        names = {"journal": self._text(self._journal), "open": self._text(self._open_rows)}
        for (statement,) in self._connection.execute(LIKE_JOURNAL, names).fetchall():
            self._connection.execute(statement)

    def agreement(self) -> list[str]:
        """Return the SQL that brings the open rows into agreement with the journal."""
        there = self.look() == Form("present", "present")
        return [self.compose(text).decode() for text in AGREE] if there else []

    def compose(self, query: str) -> bytes:
        """Fill in the tables, whose rows are meant, and what a row that is left open takes."""
        composed = self._composed.get(query)
        if composed is None:
            form = self._form or self.look()
            # A table of the older form has only rows of which it does not know whose they are.
            ours: sql.Composable = sql.SQL("true")
            if form.journal != "older":
                ours = sql.SQL(OURS).format(table=sql.Literal(self._version_table))
            parts = {"journal": self._journal, "open": self._open_rows, "ours": ours}
            for name, text in (OPENED if self.opens else NOT_OPENED).items():
                parts[name] = sql.SQL(text).format(open=self._open_rows)
            composed = sql.SQL(query).format(**parts).as_bytes(self._connection)
            self._composed[query] = composed
        return composed

    def _text(self, name: sql.Identifier) -> str:
        return name.as_string(self._connection)


def _changes(form: Form) -> tuple[str, ...]:
    """Return the statements that bring the tables to today's form."""
    made = (*_JOURNAL[form.journal], *_OPEN_ROWS[form.open_rows])
    agree = made and form.open_rows != "denied" and form != Form("missing", "missing")
    return (*made, *(AGREE if agree else ()))
