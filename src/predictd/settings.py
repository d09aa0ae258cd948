"""The settings: one table of name, type, default and help.

Each is the environment variable `PREDICTD_<NAME>`; they are also the source of `docs/reference/settings.md`.
"""

import ipaddress
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from predictd.domain.errors import SetupError
from predictd.domain.limits import MIB, Limits
from predictd.domain.quotas import GB, MAX_QUEUE, Quotas
from predictd.domain.runs import SandboxKind

MAX_REMOTE_RUNS = 128
# The placeholder for secrets in the example files.
EXAMPLE_SECRET = "change-me"  # noqa: S105
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "RAY_AUTH_TOKEN")


class Settings(BaseSettings):
    """The configuration of a deployment, from the environment; options of the command line override it."""

    model_config = SettingsConfigDict(env_prefix="PREDICTD_", extra="ignore")

    data_dir: Path = Field(Path("~/.predictd"), description="Folder of all data of the deployment.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, description="Port to listen on; 0 chooses a free port.")
    public_url: str = Field("", description="Public address of the server, if it is not http://HOST:PORT.")
    database_url: str = Field("", description="SQLAlchemy URL of the database; empty means SQLite in the data dir.")
    auto_upgrade: bool = Field(
        True,
        description="Migrate the database schema when the server or a command starts; "
        "if false, run `predictd db upgrade`.",
    )
    storage_url: str = Field(
        "",
        description="Storage of pickles, predictions and data: s3://BUCKET/PREFIX?endpoint=URL&region=REGION or "
        "file:///FOLDER; empty means a folder in the data dir.",
    )
    storage_cache_gb: int = Field(
        40, description="Disk space for cached objects of S3, in GB; the least recently used ones are evicted."
    )
    runtimes_dir: Path | None = Field(None, description="Folder of the built runtimes; empty means DATA_DIR/runtimes.")
    data_size: Literal["tiny", "demo", "full"] = Field(
        "demo", description="Size of the synthetic data version that the first start generates."
    )
    calendar: str = Field(
        "classic", description="When rounds open: 'classic' (Numerai's calendar), 'every 5m' (for tests) or 'manual'."
    )
    workers: int = Field(
        0,
        description="Number of concurrent runs; 0 means one per processor, or with Ray as many as fit on the nodes.",
    )
    executor: Literal["local", "ray"] = Field(
        "local", description="Where models run: 'local' on this machine, 'ray' on the nodes of a cluster."
    )
    ray_address: str = Field(
        "", description="Address of the Ray head, HOST:PORT, as printed by `predictd node --head`."
    )
    node_url: str = Field(
        "", description="Address of the servers for nodes; empty means the public address, or the one towards the head."
    )
    lease_seconds: float = Field(30.0, description="Lease of a worker without heartbeats; then its run is retried.")
    max_attempts: int = Field(3, description="Maximum attempts of a run that fails because of the platform.")
    retry_seconds: float = Field(5.0, description="Delay before the first retry; it doubles with each retry.")
    diagnostics_seconds: float = Field(
        3600.0, description="Time limit of a diagnostics run, in seconds; its other limits are those of a run."
    )
    run_cpus: float = Field(1.0, description="CPU limit of a run, in cores.")
    run_memory_mb: int = Field(4096, description="Memory limit of a run, in MiB.")
    run_seconds: float = Field(600.0, description="Time limit of a run, in seconds from the start of the model.")
    max_pickle_mb: int = Field(4096, description="Maximum size of a pickle, in MiB.")
    abandoned_hours: float = Field(
        24.0, gt=0, description="Age at which unregistered uploads and unreferenced files are deleted, in hours."
    )
    max_model_slots: int = Field(50, description="Maximum number of models of an account.")
    account_runs: int = Field(
        0, description="Maximum concurrent runs of an account, and as many diagnostics runs; 0 means no limit."
    )
    account_queue: int = Field(
        500,
        description="Maximum queued runs that an account may request; 0 means no limit. Round runs are exempt.",
    )
    account_uploads_per_hour: int = Field(0, description="Maximum uploads of an account per hour; 0 means no limit.")
    account_pickles: int = Field(0, description="Maximum number of pickles of an account; 0 means no limit.")
    account_storage_gb: float = Field(
        0.0,
        description="Maximum size of all files of an account (pickles, compiled trees, uploads, diagnostics), in GB "
        "(10^9 bytes); 0 means no limit.",
    )
    min_free_gb: float = Field(
        1.0,
        description="Disk space reserved for rounds, in GB (10^9 bytes); with less, uploads and requested runs are "
        "rejected. 0 means no limit.",
    )
    allow_sign_up: bool = Field(
        False, description="Whether anyone can create an account, on the web page or with the API."
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of reverse proxies, separated by commas, whose headers about the client "
        "address and https are trusted.",
    )
    allow_private_webhooks: bool = Field(False, description="Whether webhooks of accounts may be in private networks.")
    smtp_url: str = Field(
        "",
        description="Mail server, such as smtp://USER:PASSWORD@HOST:587?starttls or smtps://USER:PASSWORD@HOST; "
        "without it, no e-mail is sent.",
        repr=False,
    )
    mail_from: str = Field("", description="Sender of e-mails, such as 'predictd <noreply@host.org>'.")
    email_batch_seconds: float = Field(120.0, description="Delay to combine notifications into one e-mail, in seconds.")
    notification_retry_seconds: float = Field(
        10.0,
        description="Delay before the first retry of an e-mail or webhook; it triples with each retry.",
    )
    metrics_token: str = Field("", repr=False, description="Token for /metrics, sent as `Authorization: Bearer TOKEN`.")
    metrics_networks: str = Field(
        "",
        description="Networks that may read /metrics without a token, separated by commas, such as 127.0.0.1/32. "
        "If a reverse proxy runs on this machine, every request comes from there unless it is a trusted proxy.",
    )
    log_format: Literal["logfmt", "json"] = Field(
        "logfmt", description="Format of the server's log: key=value lines or JSON lines."
    )
    drain_seconds: float = Field(
        30.0, description="Time that a stopping server waits for its runs before it requeues them, in seconds."
    )
    drain_notice_seconds: float = Field(
        0.0,
        description="Time that a stopping server continues to serve after /readyz fails, for proxies, in seconds.",
    )
    sandbox: SandboxKind = Field(
        SandboxKind.BUBBLEWRAP, description="Sandbox of runs: 'bubblewrap', 'podman', 'docker' or 'none'."
    )
    warm_parents: int = Field(
        -1,
        description="Number of fork servers: processes with imported packages that runs are forked from; "
        "0 disables them, -1 means four per worker.",
    )
    trees: bool = Field(
        True,
        description="Evaluate trees of LightGBM, XGBoost, CatBoost and scikit-learn with compiled tables, "
        "if the result is identical.",
    )
    log_retention: str = Field(
        "", description="Age at which logs of ended runs are deleted, such as 90d; empty means never."
    )
    pickle_retention: str = Field(
        "", description="Age at which files of unused pickles are deleted, such as 365d; empty means never."
    )
    mapped_cache_gb: int = Field(
        40, description="Disk space for mapped data, in GB; the least recently used files are evicted."
    )
    node_cache_gb: int = Field(
        20, description="Disk space of a node for pickles and data, in GB; the least recently used files are evicted."
    )
    node_memory_mb: int = Field(
        0, description="Memory of a node for runs, in MiB; 0 means 90 % of the machine's memory."
    )
    trust_users: bool = Field(False, description="Run models even if this machine can't isolate them.")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, text: str) -> str:
        """Reject networks that include everyone: a client that sets its own address escapes every limit by address."""
        for part in filter(None, map(str.strip, text.split(","))):
            try:
                network = ipaddress.ip_network(part, strict=False)
            except ValueError:
                raise ValueError(
                    f"{part[:60]!r} is not an address or network; use those of your proxies, such as 172.28.0.2"
                ) from None
            if network.prefixlen == 0:
                raise ValueError(f"{part} trusts everyone; use the addresses of your proxies, such as 172.28.0.2")
        return text

    @property
    def home(self) -> Path:
        """Absolute path of the data dir."""
        return self.data_dir.expanduser().absolute()

    @property
    def runtimes_home(self) -> Path:
        """Absolute path of the folder of built runtimes."""
        return (self.runtimes_dir or self.home / "runtimes").expanduser().absolute()

    @property
    def mapped_home(self) -> Path:
        """Absolute path of the folder of mapped data files."""
        return self.home / "mapped"

    @property
    def laptop_mapped_home(self) -> Path:
        """Folder of mapped data files for runs without a server, in the user's cache."""
        return self.laptop_cache / "mapped"

    @property
    def laptop_cache(self) -> Path:
        """Folder of caches for commands without a server."""
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "predictd"

    @property
    def resolved_database_url(self) -> str:
        """URL of the database, by default of the SQLite file in the data dir."""
        return self.database_url or f"sqlite:///{self.home / 'predictd.db'}"

    @property
    def limits(self) -> Limits:
        """Limits of a run."""
        return Limits(
            cpus=self.run_cpus,
            memory_bytes=self.run_memory_mb * MIB,
            seconds=self.run_seconds,
        )

    @property
    def diagnostics_limits(self) -> Limits:
        """Limits of a diagnostics run."""
        return replace(self.limits, seconds=self.diagnostics_seconds)

    @property
    def quotas(self) -> Quotas:
        """Quotas of accounts and of the server."""
        return Quotas(
            pickles=self.account_pickles,
            storage_bytes=int(self.account_storage_gb * GB),
            uploads_per_hour=self.account_uploads_per_hour,
            account_queue=self.account_queue,
            queue=MAX_QUEUE,
            free_bytes=int(self.min_free_gb * GB),
        )

    @property
    def factors_home(self) -> Path:
        """Absolute path of the folder of factors for feature neutralization."""
        return self.home / "factors"

    @property
    def worker_count(self) -> int:
        """Number of concurrent runs."""
        return self.workers or os.cpu_count() or 1

    @property
    def remote_worker_count(self) -> int:
        """Maximum number of runs that this server has on a cluster, whatever its capacity."""
        return self.workers or MAX_REMOTE_RUNS

    @property
    def most_warm_parents(self) -> int:
        """Maximum number of fork servers."""
        return 4 * self.worker_count if self.warm_parents < 0 else self.warm_parents

    @property
    def max_pickle_bytes(self) -> int:
        """Maximum size of a pickle, in bytes."""
        return self.max_pickle_mb * MIB


def refuse_example_secrets(settings: Settings) -> None:
    """Reject secrets copied from an example, which everyone can read.

    Raises:
        SetupError: A secret is the placeholder of the examples.
    """
    names = [name for name in _SECRET_VARIABLES if os.environ.get(name) == EXAMPLE_SECRET]
    if settings.metrics_token == EXAMPLE_SECRET:
        names.append("PREDICTD_METRICS_TOKEN")
    urls = {"PREDICTD_DATABASE_URL": settings.database_url, "PREDICTD_SMTP_URL": settings.smtp_url}
    names += [name for name, url in urls.items() if urlsplit(url).password == EXAMPLE_SECRET]
    if names:
        raise SetupError(
            f"{', '.join(names)} contains {EXAMPLE_SECRET!r}, the placeholder of the examples. Replace it, for example "
            "with the output of: openssl rand -hex 32"
        )
