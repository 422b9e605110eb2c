"""The journal's table: whether it is there, and how it is made or brought to today's form."""

from __future__ import annotations

__all__ = ["CHANGES", "FORM"]

# `restore_lsn` is text: SQLAlchemy does not know pg_lsn, and would warn in every autogenerate.
# The columns of `ADD` came later; a row without `version_table` may be of any.
FORM = """\
select case when t.oid is null then 'missing' when exists (
  select from pg_attribute a where a.attrelid = t.oid and a.attname = 'version_table'
    and not a.attisdropped) then 'present' else 'older' end
from (select to_regclass(%s) as oid) t"""

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

CHANGES = {"missing": (CREATE, INDEX, COMMENT), "older": (ADD,), "present": ()}
"""By the answer to `FORM`: the statements that it takes."""
