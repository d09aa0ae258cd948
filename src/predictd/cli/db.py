"""`predictd db`: the schema of the database."""

from typing import Any

import typer
from sqlalchemy.engine import make_url

from predictd.cli.options import AsJson, DataDir, read_settings
from predictd.cli.output import print_json, say
from predictd.db import Database
from predictd.db.database import known_revisions, newest_revision

app = typer.Typer(help="The database's schema.\n\nExample: predictd db upgrade", no_args_is_help=True)


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say which schema the database has and which this predictd needs. Ends with 1 unless they are the same.

    Example: predictd db status --json
    """
    settings = read_settings(data_dir=data_dir)
    database = Database(settings.resolved_database_url)
    home = settings.home
    revision = None if database.is_sqlite and not settings.database_url and not home.exists() else database.revision()
    database.close()
    facts = _facts(settings.resolved_database_url, revision)
    if as_json:
        print_json(facts)
    else:
        say(f"{facts['database']}: schema {revision or 'none'}, {facts['state']}.")
        for pending in facts["pending"]:
            say(f"To be applied: {pending}")
    if facts["state"] != "current":
        raise typer.Exit(1)


@app.command()
def upgrade(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the schema up to date. On PostgreSQL servers go on meanwhile, also those of the release before.

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
        say(f"The schema was {before or 'none'} and is {newest_revision()} now.")


def _facts(url: str, revision: str | None) -> dict[str, Any]:
    known = known_revisions()
    pending = [one for one in known if revision is None or one > revision]
    state = "behind" if pending else "current"
    if revision is not None and revision > known[-1]:
        state = "of a newer predictd"
    return {
        "database": make_url(url).render_as_string(hide_password=True),
        "revision": revision,
        "newest": known[-1],
        "state": state,
        "pending": pending,
    }
