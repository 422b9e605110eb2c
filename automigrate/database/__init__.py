"""The PostgreSQL side: connection sources, the one session, its lock and the journal."""
