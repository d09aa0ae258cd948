"""One run of a model on this machine, outside of any server: its inputs, its runtime, its answer and where that goes.

No database, no rounds and no accounts; the run and its checks are those of the server, from `sandbox` and `scoring`.
"""

from predictd.client.transfer import ShowProgress, TransferError
from predictd.local_run.datasets import DEFAULT_SERVER
from predictd.local_run.inputs import Inputs, Wanted, gather
from predictd.local_run.one_run import LocalResult, run_model, run_on
from predictd.local_run.presigned_post import Post, parse_post
from predictd.local_run.runtime import choose_runtime
from predictd.local_run.validation_files import validation_folder

__all__ = [
    "DEFAULT_SERVER",
    "Inputs",
    "LocalResult",
    "Post",
    "ShowProgress",
    "TransferError",
    "Wanted",
    "choose_runtime",
    "gather",
    "parse_post",
    "run_model",
    "run_on",
    "validation_folder",
]
