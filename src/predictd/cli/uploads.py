"""`predictd list` and `predictd download`: your models and pickles on the server."""

from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_json, print_rows, say
from predictd.cli.remote import ModelOrPickle, ProfileName, Server, opened_client, pickle_row


def list_(
    model: Annotated[str | None, typer.Option(help="Only the pickles of this model.")] = None,
    unassigned: Annotated[bool, typer.Option("--unassigned", help="Only pickles that are not assigned.")] = False,
    models: Annotated[bool, typer.Option("--models", help="List models instead of pickles.")] = False,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List your pickles, newest first, with the models that they are assigned to.

    Example: predictd list --model my_model
    """
    with opened_client(server, profile) as client:
        all_models = client.models()
        pickles = [] if models else client.pickles(model, unassigned=unassigned)
    if models:
        rows = [
            {"name": item.name, "id": item.id, "pickle": item.pickle_filename, "pickle_id": item.pickle_id}
            for item in all_models
        ]
        empty = "You have no models; create one with: predictd deploy FILE --model NAME --create"
        print_rows(rows, as_json=as_json, empty=empty)
        return
    names = {item.id: item.name for item in all_models}
    rows = []
    for pickle in pickles:
        row = pickle_row(pickle)
        row["serves"] = [names.get(model_id, model_id) for model_id in pickle.assigned_model_ids]
        row["uploaded_for"] = names.get(pickle.model_id or "", pickle.model_id)
        if not as_json:
            row = {
                key: row[key] for key in ("id", "filename", "runtime", "validation", "status", "uploaded_for", "serves")
            }
        rows.append(row)
    print_rows(rows, as_json=as_json, empty="There are no pickles; upload one with: predictd deploy FILE --model NAME")


def download(
    target: ModelOrPickle,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder to save to.", show_default="the pickle's name")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Download a pickle, or the newest of a model. An interrupted download resumes when you repeat the command.

    Unpickle it only if you trust its author: unpickling runs code of the file.

    Example: predictd download my_model --output model.pkl
    """
    with opened_client(server, profile) as client:
        path = client.download(target, output)
    if as_json:
        print_json({"path": str(path)})
    else:
        say(f"Saved {path}.")
