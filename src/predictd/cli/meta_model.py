"""`predictd meta-model`: how much each model counts in the meta model of a round."""

from typing import Annotated

import typer
from sqlalchemy import select

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows, say
from predictd.db.model_queries import find_by_name, set_meta_model_weight
from predictd.db.models import Account, Model
from predictd.domain.errors import NotFoundError
from predictd.domain.names import CLASSIC

app = typer.Typer(
    help="The meta model: what all submissions of a round say together.\n\nExample: predictd meta-model list",
    no_args_is_help=True,
)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the weights of the models; 1 for those that nobody gave another.

    Example: predictd meta-model list --json
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        found = session.execute(
            select(Model.name, Account.username, Model.meta_model_weight)
            .join(Account, Account.id == Model.account_id)
            .where(Model.tournament == CLASSIC, Model.archived_at.is_(None))
            .order_by(Model.name_key)
        ).all()
    rows = [{"model": row[0], "account": row[1], "weight": row[2]} for row in found]
    print_rows(rows, as_json=as_json, empty="There are no models yet.")


@app.command()
def weight(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    weight: Annotated[float, typer.Argument(help="How much it counts, 0 or more; 0 leaves it out.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set how much a model counts in the meta model, from the next scores on.

    Example: predictd meta-model weight my_model 2.5
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        found = find_by_name(session, model, CLASSIC)
        if found is None:
            raise NotFoundError(f"There is no model {model[:64]!r}; list them with: predictd meta-model list")
        set_meta_model_weight(session, found, weight)
        row = {"model": found.name, "weight": found.meta_model_weight}
    if as_json:
        print_json(row)
        return
    say(f"Model {row['model']} counts {row['weight']:g} in the meta model.")
