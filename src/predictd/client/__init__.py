"""A typed client for any server with Numerai's API: requests, credentials and transfers.

Depends only on requests. No command line, and no business rules of the server.
"""

from predictd.client.client import Client
from predictd.client.connection import UnansweredError
from predictd.client.credentials import Access, Token, check_server, find_access
from predictd.client.follow import Outcome, RunResult, shown_status
from predictd.client.models import (
    DataVersion,
    Diagnostics,
    LogLine,
    Model,
    Pickle,
    Round,
    Run,
    Runtime,
    Score,
    Status,
    Submission,
    TokenInfo,
)
from predictd.client.selection import RuntimeChooser, choose_runtime, python_of
from predictd.client.server_errors import RefusedError, error_of, read_errors
from predictd.client.transfer import ShowProgress, TransferError

__all__ = [
    "Access",
    "Client",
    "DataVersion",
    "Diagnostics",
    "LogLine",
    "Model",
    "Outcome",
    "Pickle",
    "RefusedError",
    "Round",
    "Run",
    "RunResult",
    "Runtime",
    "RuntimeChooser",
    "Score",
    "ShowProgress",
    "Status",
    "Submission",
    "Token",
    "TokenInfo",
    "TransferError",
    "UnansweredError",
    "check_server",
    "choose_runtime",
    "error_of",
    "find_access",
    "python_of",
    "read_errors",
    "shown_status",
]
