"""Write the migration that the tables lack: `python scripts/new_migration.py "what changes"`."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from predictd.db.database import Database, alembic_config

with tempfile.TemporaryDirectory() as folder:
    database = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
    database.upgrade()
    with database.engine.connect().execution_options(write=True) as connection:
        versions = Path(alembic_config().get_main_option("script_location") or "") / "versions"
        number = f"{len(list(versions.glob('*.py'))) + 1:04}"
        command.revision(alembic_config(connection), sys.argv[1], autogenerate=True, rev_id=number)
    database.close()
