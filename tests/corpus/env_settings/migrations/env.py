import logging
import os
import sys
from logging.config import fileConfig
from pathlib import Path

from alembic import context
from sqlalchemy import create_engine

config = context.config
project = Path(config.config_file_name).parent
sys.path.insert(0, str(project / "src"))
fileConfig(config.config_file_name)
logging.basicConfig(level=logging.DEBUG, force=True)
logging.getLogger("alembic").setLevel(logging.DEBUG)

from warehouse_settings import load_settings  # noqa: E402

settings = load_settings(project / "settings.env")
os.environ["APP_ENV"] = "migrations"

engine = create_engine(settings["url"], pool_pre_ping=True, pool_size=1)
with engine.begin() as connection:
    context.configure(
        connection=connection,
        compare_type=True,
        process_revision_directives=lambda *_: None,
        user_module_prefix="sa.",
        autogenerate=getattr(config.cmd_opts, "autogenerate", False),
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
