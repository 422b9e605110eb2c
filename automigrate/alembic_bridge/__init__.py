"""The only part that imports Alembic and SQLAlchemy to run revisions."""
