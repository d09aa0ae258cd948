"""`predictd db`: the database schema."""

from typing import Any

import typer
from sqlalchemy.engine import make_url

from predictd.cli.options import AsJson, DataDir, read_settings
from predictd.cli.output import print_json, say
from predictd.db import Database
from predictd.db.migrations.revisions import known_revisions, newest_revision

app = typer.Typer(help="The database schema.\n\nExample: predictd db upgrade", no_args_is_help=True)


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the database's schema revision and pending migrations. The exit code is 1 unless the schema is current.

    Example: predictd db status --json
    """
    settings = read_settings(data_dir=data_dir)
    database = Database(settings.resolved_database_url)
    home = settings.home
    revision = None if database.is_sqlite and not settings.database_url and not home.exists() else database.revision()
    database.close()
    facts = _state(settings.resolved_database_url, revision)
    if as_json:
        print_json(facts)
    else:
        say(f"{facts['database']}: schema {revision or 'none'}, {facts['state']}.")
        for pending in facts["pending"]:
            say(f"Pending: {pending}")
    if facts["state"] != "current":
        raise typer.Exit(1)


@app.command()
def upgrade(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Migrate the schema to the newest revision. On PostgreSQL, servers of this and the previous release keep running.

    Example: predictd db upgrade
    """
    settings = read_settings(data_dir=data_dir)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.resolved_database_url)
    before = database.revision()
    database.upgrade()
    database.close()
    if as_json:
        print_json({"before": before, "now": newest_revision()})
        return
    if before == newest_revision():
        say(f"The schema is up to date: {before}.")
    else:
        say(f"Migrated the schema from {before or 'none'} to {newest_revision()}.")


def _state(url: str, revision: str | None) -> dict[str, Any]:
    revisions = known_revisions()
    pending = [candidate for candidate in revisions if revision is None or candidate > revision]
    state = "behind" if pending else "current"
    if revision is not None and revision > revisions[-1]:
        state = "of a newer predictd"
    return {
        "database": make_url(url).render_as_string(hide_password=True),
        "revision": revision,
        "newest": revisions[-1],
        "state": state,
        "pending": pending,
    }
