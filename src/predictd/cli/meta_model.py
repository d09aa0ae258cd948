"""`predictd meta-model`: the weights of models in the meta model of a round."""

from typing import Annotated

import typer
from sqlalchemy import select

from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir
from predictd.cli.output import print_json, print_rows, say
from predictd.db.model_queries import find_model, set_meta_model_weight
from predictd.db.models import Account, Model
from predictd.domain.errors import NotFoundError
from predictd.domain.names import CLASSIC

app = typer.Typer(
    help="The meta model: the weighted mean of a round's submissions.\n\nExample: predictd meta-model list",
    no_args_is_help=True,
)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the weights of all models. The default is 1.

    Example: predictd meta-model list --json
    """
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        results = session.execute(
            select(Model.name, Account.username, Model.meta_model_weight)
            .join(Account, Account.id == Model.account_id)
            .where(Model.tournament == CLASSIC, Model.archived_at.is_(None))
            .order_by(Model.name_key)
        ).all()
    rows = [{"model": row[0], "account": row[1], "weight": row[2]} for row in results]
    print_rows(rows, as_json=as_json, empty="There are no models.")


@app.command()
def weight(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    weight: Annotated[float, typer.Argument(help="The weight, 0 or more; 0 excludes the model.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set the weight of a model in the meta model, from the next scores on.

    Example: predictd meta-model weight my_model 2.5
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        stored = find_model(session, model, CLASSIC)
        if stored is None:
            raise NotFoundError(f"There is no model {model[:64]!r}. List them with: predictd meta-model list")
        set_meta_model_weight(session, stored, weight)
        row = {"model": stored.name, "weight": stored.meta_model_weight}
    if as_json:
        print_json(row)
        return
    say(f"Set the weight of model {row['model']} in the meta model to {row['weight']:g}.")
