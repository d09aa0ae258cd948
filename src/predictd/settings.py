"""The settings: one table of name, type, default and help.

Each is the environment variable `PREDICTD_<NAME>`; `docs/settings.md` and the help of `predictd serve` come from here.
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
from predictd.domain.quotas import GB, Quotas
from predictd.domain.runs import SandboxKind

MOST_REMOTE_RUNS = 128
# What stands for a secret in examples, and what is left of it in a URL.
EXAMPLE_SECRET = "change-me"  # noqa: S105
_FOREIGN_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "RAY_AUTH_TOKEN")


class Settings(BaseSettings):
    """How a deployment is configured. Read from the environment; options of the command line win."""

    model_config = SettingsConfigDict(env_prefix="PREDICTD_", extra="ignore")

    data_dir: Path = Field(Path("~/.predictd"), description="Folder of everything that is kept.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, description="Port to listen on; 0 takes a free one.")
    public_url: str = Field("", description="Address that clients reach the server at, if not http://HOST:PORT.")
    database_url: str = Field("", description="SQLAlchemy URL of the database; empty means SQLite in the data dir.")
    auto_upgrade: bool = Field(
        True,
        description="Bring the database's schema up to date when the server or a command starts; "
        "with false, `predictd db upgrade` does.",
    )
    storage_url: str = Field(
        "",
        description="Where pickles, predictions and data are kept: s3://BUCKET/PREFIX?endpoint=URL&region=REGION, or "
        "file:///FOLDER; empty means a folder in the data dir.",
    )
    storage_cache_gb: int = Field(
        40, description="Disk for copies of objects in S3, in GB; those used longest ago make room."
    )
    runtimes_dir: Path | None = Field(None, description="Folder of the built runtimes; default DATA_DIR/runtimes.")
    data_size: Literal["tiny", "demo", "full"] = Field(
        "demo", description="Size of the synthetic data version that the first start makes."
    )
    calendar: str = Field(
        "classic", description="When rounds open: 'classic', 'every 5m' (for trying it out) or 'manual'."
    )
    workers: int = Field(
        0,
        description="Models that run at once; 0 means one per processor, with Ray as many as the nodes have room for.",
    )
    executor: Literal["local", "ray"] = Field(
        "local", description="Where models run: 'local' on this machine, 'ray' on the nodes of a cluster."
    )
    ray_address: str = Field("", description="Address of the Ray head, HOST:PORT, as `predictd node --head` tells it.")
    node_url: str = Field(
        "", description="Address that nodes reach the servers at, if not the public one or the one towards the head."
    )
    lease_seconds: float = Field(30.0, description="A worker that says nothing for so long has lost its run.")
    max_attempts: int = Field(3, description="How often a run is tried when the platform fails.")
    retry_seconds: float = Field(5.0, description="Wait before the first retry; doubles with each.")
    diagnostics_seconds: float = Field(
        3600.0, description="Time of one run on the validation data, in seconds; its other limits are those of a run."
    )
    run_cpus: float = Field(1.0, description="Processor share of one run, in cores.")
    run_memory_mb: int = Field(4096, description="Memory of one run, in MiB.")
    run_seconds: float = Field(600.0, description="Time of one run, in seconds from the start of the model.")
    run_processes: int = Field(256, description="Processes and threads of one run.")
    run_scratch_mb: int = Field(1024, description="Writable scratch of one run, in MiB; it counts as memory.")
    run_output_mb: int = Field(256, description="Size of one run's answer, in MiB.")
    max_pickle_mb: int = Field(4096, description="Largest pickle, in MiB.")
    max_submission_mb: int = Field(256, description="Largest uploaded submission or diagnostics file, in MiB.")
    url_seconds: int = Field(600, description="How long a presigned URL is good for.")
    abandoned_hours: float = Field(
        24.0, gt=0, description="Uploads never registered, and files that nothing refers to, are removed after so long."
    )
    max_model_slots: int = Field(50, description="Models that one account may have.")
    account_runs: int = Field(0, description="Runs of one account at once, and as many diagnostics; 0 means no limit.")
    account_queue: int = Field(
        500,
        description="Runs that one account may ask for and have waiting; 0 means no limit. A round's always find room.",
    )
    account_uploads_per_hour: int = Field(
        0, description="Uploads that one account may begin within an hour; 0 means no limit."
    )
    account_pickles: int = Field(0, description="Pickles that one account may have; 0 means no limit.")
    account_storage_gb: float = Field(
        0.0,
        description="Size of all files of one account (pickles, compiled trees, uploads, diagnostics), in GB "
        "(10^9 bytes); 0 means no limit.",
    )
    max_queue: int = Field(
        20_000,
        description="Runs of all accounts that may wait; then nothing but rounds adds to them. 0 means no limit.",
    )
    min_free_gb: float = Field(
        1.0,
        description="Disk that stays free for rounds, in GB (10^9 bytes); with less, no upload is taken and no run "
        "that somebody asks for. 0 means no limit.",
    )
    sign_up: bool = Field(False, description="Whether anybody may make an account, on the web page or by the API.")
    session_hours: float = Field(336.0, description="How long somebody who signed in with a password stays signed in.")
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of reverse proxies, with commas between; what they say of a client's "
        "address and of https is believed.",
    )
    webhooks_to_private: bool = Field(False, description="Whether users' webhooks may lie in private networks.")
    smtp_url: str = Field(
        "",
        description="Mail server, such as smtp://USER:PASSWORD@HOST:587?starttls or smtps://USER:PASSWORD@HOST; "
        "no e-mail is sent without one.",
        repr=False,
    )
    mail_from: str = Field("", description="Who e-mails come from, such as 'predictd <noreply@host.org>'.")
    mail_gather_seconds: float = Field(120.0, description="How long an e-mail waits for others to go along with it.")
    mails_per_hour: int = Field(10, ge=1, description="E-mails an hour for one account; more are gathered.")
    notify_retry_seconds: float = Field(
        10.0,
        description="Wait before an e-mail or webhook is tried again; three times as long after each failure.",
    )
    notify_hours: float = Field(24.0, description="How long an e-mail or webhook is tried for.")
    metrics_token: str = Field(
        "", repr=False, description="Who sends it as `Authorization: Bearer TOKEN` may read /metrics."
    )
    metrics_networks: str = Field(
        "",
        description="Networks that may read /metrics without it, with commas between, such as 127.0.0.1/32. "
        "Behind a reverse proxy on this machine everybody comes from there, unless it is a trusted proxy.",
    )
    log_format: Literal["logfmt", "json"] = Field(
        "logfmt", description="How the server writes its log: lines of key=value, or of JSON."
    )
    drain_seconds: float = Field(
        30.0, description="How long a stopping server waits for runs before it gives them back."
    )
    drain_notice_seconds: float = Field(
        0.0,
        description="How long a stopping server goes on answering after /readyz says no, for a proxy to notice.",
    )
    sandbox: SandboxKind = Field(
        SandboxKind.BUBBLEWRAP, description="What isolates a run: 'bubblewrap', 'podman', 'docker' or 'none'."
    )
    warm_parents: int = Field(
        -1,
        description="Processes kept ready, with the usual packages imported, to fork runs from; "
        "0 starts every run cold, -1 means four per worker.",
    )
    trees: bool = Field(
        True,
        description="Let compiled tables answer for LightGBM, XGBoost, CatBoost and scikit-learn, "
        "where the result is the same.",
    )
    keep_logs: str = Field(
        "", description="Age at which logs of ended runs are removed, such as 90d; empty keeps them for ever."
    )
    keep_pickles: str = Field(
        "", description="Age at which files of pickles that nobody uses are removed, such as 365d; empty keeps them."
    )
    mapped_gb: int = Field(40, description="Disk for mapped data, in GB; the files used longest ago make room.")
    objects_gb: int = Field(
        20, description="Disk of a node for pickles and data files, in GB; those used longest ago make room."
    )
    node_memory_mb: int = Field(
        0, description="Memory that a node gives to runs, in MiB; 0 means what the machine has, less a tenth."
    )
    trust_users: bool = Field(False, description="Run models although this machine can't isolate them.")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, text: str) -> str:
        """Refuse to trust everybody: a client that is believed its own address escapes every limit by address."""
        for part in filter(None, map(str.strip, text.split(","))):
            try:
                network = ipaddress.ip_network(part, strict=False)
            except ValueError:
                raise ValueError(
                    f"{part[:60]!r} is no address or network; name those of your proxies, such as 172.28.0.2"
                ) from None
            if network.prefixlen == 0:
                raise ValueError(f"{part} trusts everybody; name the addresses of your proxies, such as 172.28.0.2")
        return text

    @property
    def home(self) -> Path:
        """The data dir as an absolute path."""
        return self.data_dir.expanduser().absolute()

    @property
    def runtimes_home(self) -> Path:
        """The folder of the built runtimes as an absolute path."""
        return (self.runtimes_dir or self.home / "runtimes").expanduser().absolute()

    @property
    def mapped_home(self) -> Path:
        """The folder of the mapped data files as an absolute path."""
        return self.home / "mapped"

    @property
    def laptop_mapped_home(self) -> Path:
        """The same for runs outside of any server: in the user's cache."""
        return self.laptop_cache / "mapped"

    @property
    def laptop_cache(self) -> Path:
        """Folder of what is kept outside of any server only to be quicker the next time."""
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "predictd"

    @property
    def resolved_database_url(self) -> str:
        """The database's URL, by default the SQLite file in the data dir."""
        return self.database_url or f"sqlite:///{self.home / 'predictd.db'}"

    @property
    def limits(self) -> Limits:
        """What one run may use."""
        return Limits(
            cpus=self.run_cpus,
            memory_bytes=self.run_memory_mb * MIB,
            seconds=self.run_seconds,
            processes=self.run_processes,
            scratch_bytes=self.run_scratch_mb * MIB,
            output_bytes=self.run_output_mb * MIB,
        )

    @property
    def diagnostics_limits(self) -> Limits:
        """What one run on the validation data may use."""
        return replace(self.limits, seconds=self.diagnostics_seconds)

    @property
    def quotas(self) -> Quotas:
        """What accounts may have, and when nothing more is taken."""
        return Quotas(
            pickles=self.account_pickles,
            storage_bytes=int(self.account_storage_gb * GB),
            uploads_per_hour=self.account_uploads_per_hour,
            account_queue=self.account_queue,
            queue=self.max_queue,
            free_bytes=int(self.min_free_gb * GB),
        )

    @property
    def factors_home(self) -> Path:
        """The folder of what neutralising to the features takes as an absolute path."""
        return self.home / "factors"

    @property
    def worker_count(self) -> int:
        """Models that run at once."""
        return self.workers or os.cpu_count() or 1

    @property
    def remote_worker_count(self) -> int:
        """Models that this server has running on a cluster at most, whatever room that has."""
        return self.workers or MOST_REMOTE_RUNS

    @property
    def most_warm_parents(self) -> int:
        """Warm parents at once."""
        return 4 * self.worker_count if self.warm_parents < 0 else self.warm_parents

    @property
    def max_pickle_bytes(self) -> int:
        """Largest pickle, in bytes."""
        return self.max_pickle_mb * MIB

    @property
    def max_submission_bytes(self) -> int:
        """Largest uploaded submission or diagnostics file, in bytes."""
        return self.max_submission_mb * MIB


def refuse_example_secrets(settings: Settings) -> None:
    """Refuse to run with a secret that everybody can read in an example.

    Raises:
        SetupError: a secret is still the one of an example; names it.
    """
    names = [name for name in _FOREIGN_SECRETS if os.environ.get(name) == EXAMPLE_SECRET]
    if settings.metrics_token == EXAMPLE_SECRET:
        names.append("PREDICTD_METRICS_TOKEN")
    urls = {"PREDICTD_DATABASE_URL": settings.database_url, "PREDICTD_SMTP_URL": settings.smtp_url}
    names += [name for name, url in urls.items() if urlsplit(url).password == EXAMPLE_SECRET]
    if names:
        raise SetupError(
            f"The secret {EXAMPLE_SECRET!r} of an example is still in {', '.join(names)}; everybody knows it. Set "
            "another one, for example of: openssl rand -hex 32"
        )
