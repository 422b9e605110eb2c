-- Two roles: one owns the schema and is known to the migration only, one serves.
-- Run once, by an administrator, in the shop's database.
create role shop_migrator login password 'from the secret store';
create role shop_app login password 'from the secret store';

grant usage, create on schema public to shop_migrator;
grant usage on schema public to shop_app;

-- What the migrator creates later, the application may use at once: its own tables, and
-- alembic_version, automigrate_journal and automigrate_open, which its start and readiness look at.
alter default privileges for role shop_migrator in schema public
  grant select, insert, update, delete on tables to shop_app;
alter default privileges for role shop_migrator in schema public
  grant usage, select on sequences to shop_app;
