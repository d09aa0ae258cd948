"""Run a model on this machine without a server: its inputs, its runtime, and its predictions.

There is no database, and there are no rounds and no accounts. The run and its checks are the same as on the server.
"""

from predictd.client.transfer import ShowProgress, TransferError
from predictd.local_run.dataset_files import DEFAULT_SERVER, validation_folder
from predictd.local_run.inputs import InputOptions, Inputs, collect_inputs
from predictd.local_run.one_run import LocalResult, Post, parse_post, run_model, run_pickle
from predictd.local_run.runtime_lookup import choose_runtime

__all__ = [
    "DEFAULT_SERVER",
    "InputOptions",
    "Inputs",
    "LocalResult",
    "Post",
    "ShowProgress",
    "TransferError",
    "choose_runtime",
    "collect_inputs",
    "parse_post",
    "run_model",
    "run_pickle",
    "validation_folder",
]
