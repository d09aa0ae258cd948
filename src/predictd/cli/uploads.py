"""`predictd list` and `predictd download`: what is on the server, and getting it back."""

from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_json, print_rows, say
from predictd.cli.remote import ModelOrPickle, ProfileName, Server, opened_client, pickle_row


def list_(
    model: Annotated[str | None, typer.Option(help="Only the pickles of this model.")] = None,
    unassigned: Annotated[bool, typer.Option("--unassigned", help="Only pickles that sit in no slot.")] = False,
    models: Annotated[bool, typer.Option("--models", help="The models in place of the pickles.")] = False,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List your pickles, newest first, with the models that they serve.

    Example: predictd list --model my_model
    """
    with opened_client(server, profile) as client:
        slots = client.models()
        pickles = [] if models else client.pickles(model, unassigned=unassigned)
    if models:
        rows = [
            {"name": one.name, "id": one.id, "pickle": one.pickle_filename, "pickle_id": one.pickle_id} for one in slots
        ]
        print_rows(
            rows, as_json=as_json, empty="You have no model; make one with: predictd deploy FILE --model NAME --create"
        )
        return
    names = {one.id: one.name for one in slots}
    rows = []
    for pickle in pickles:
        row = pickle_row(pickle)
        row["serves"] = [names.get(one, one) for one in pickle.assigned_model_ids]
        row["uploaded_for"] = names.get(pickle.model_id or "", pickle.model_id)
        if not as_json:
            row = {
                key: row[key] for key in ("id", "filename", "runtime", "validation", "status", "uploaded_for", "serves")
            }
        rows.append(row)
    print_rows(rows, as_json=as_json, empty="There is no pickle; upload one with: predictd deploy FILE --model NAME")


def download(
    target: ModelOrPickle,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder.", show_default="its own name, here")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Download a pickle, or the newest one of a model. A download that was cut goes on where it broke off.

    Open it only if you trust who made it: unpickling runs what is in it.

    Example: predictd download my_model --output model.pkl
    """
    with opened_client(server, profile) as client:
        path = client.download(target, output)
    if as_json:
        print_json({"path": str(path)})
    else:
        say(f"Saved as {path}.")
