create table from_sql (id integer primary key);
insert into from_sql values (1);
