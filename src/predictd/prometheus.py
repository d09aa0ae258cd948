"""What a server counts of its own doing since it started; /metrics shows it. docs/admins/monitoring.md names each.

Each process has its own counters: of several servers, add them up. What the database knows is no counter of these.
"""

from prometheus_client import Counter, Histogram

from predictd.domain.notification_types import Channel
from predictd.domain.states import RunState, RunType

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RUN_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
WAIT_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

REQUESTS = Counter("predictd_http_requests", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "predictd_http_request_seconds",
    "Time until a request was answered whole, in seconds.",
    ["method", "route"],
    buckets=SECONDS,
)
RECEIVED_BYTES = Counter("predictd_http_received_bytes", "Bytes of the bodies of requests.", ["route"])
SENT_BYTES = Counter("predictd_http_sent_bytes", "Bytes of the bodies of answers.", ["route"])
CONNECTIONS_CLOSED = Counter(
    "predictd_connections_closed",
    "Connections that the server closed: over a limit, without a request in time, or without progress.",
    ["reason"],
)
UPLOADS = Counter("predictd_uploads", "Uploads registered.", ["kind"])
UPLOAD_BYTES = Counter("predictd_upload_bytes", "Bytes of the uploads registered.", ["kind"])
RUNS_ENDED = Counter(
    "predictd_runs_ended",
    "Runs ended, by type, end state and failure code; an Error that is retried is one of them.",
    ["type", "state", "code"],
)
RUN_SECONDS_USED = Histogram(
    "predictd_run_seconds", "Time that runs took of their limit, in seconds.", ["type"], buckets=RUN_SECONDS
)
QUEUE_SECONDS = Histogram(
    "predictd_queue_wait_seconds",
    "Time from when a run was due until a worker took it, in seconds.",
    ["type"],
    buckets=WAIT_SECONDS,
)
RETRIES = Counter("predictd_run_retries", "Runs requeued after a failure of the platform.")
LEASES_EXPIRED = Counter("predictd_leases_expired", "Leases found expired: their worker was lost.")
MESSAGES = Counter(
    "predictd_messages",
    "Attempts to send e-mails and webhooks, by what came of them: delivered, failed for good, or put off.",
    ["channel", "outcome"],
)
ROUNDS_OPENED = Counter("predictd_rounds_opened", "Rounds that this server opened.")
SUBMISSIONS_SCORED = Counter("predictd_submissions_scored", "Submissions given scores, one for each day of scores.")

# What has not happened yet is 0 and not missing: else the first failure of all would be no increase.
for _type in RunType:
    RUNS_ENDED.labels(_type, RunState.SUCCEEDED, "")
    RUNS_ENDED.labels(_type, RunState.ERROR, "platform")
for _channel in Channel:
    MESSAGES.labels(_channel, "failed")
