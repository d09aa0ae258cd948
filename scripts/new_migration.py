"""Write the migration that the tables lack: `python scripts/new_migration.py "what changes"`."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from predictd.db import Database
from predictd.db.migrations.revisions import MIGRATIONS, alembic_config

with tempfile.TemporaryDirectory() as folder:
    database = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
    database.upgrade()
    with database.engine.connect().execution_options(write=True) as connection:
        number = f"{len(list((MIGRATIONS / 'versions').glob('*.py'))) + 1:04}"
        command.revision(alembic_config(connection), sys.argv[1], autogenerate=True, rev_id=number)
    database.close()
