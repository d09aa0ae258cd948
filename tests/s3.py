"""A private S3 server for tests: rclone serves a folder, and can be killed and started again on its port."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
RCLONE = ROOT / ".cache" / "rclone" / "rclone"
ACCESS_KEY, SECRET_KEY = "PREDICTDTESTS", "the-secret-of-the-tests"
BUCKET = "predictd"
START_SECONDS = 20


@dataclass(kw_only=True)
class S3Server:
    """`rclone serve s3` on 127.0.0.1, with one bucket; it checks signatures and their times.

    Attributes:
        folder: holds the bucket as a folder of its name.
        port: where it listens, the same after each start; 0 takes a free one.
        address: of this machine, on which it listens.
    """

    folder: Path
    port: int = 0
    address: str = "127.0.0.1"
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def bucket(self) -> Path:
        """The bucket's folder: what lies there are the objects."""
        return self.folder / BUCKET

    @property
    def credentials(self) -> dict[str, str]:
        """Environment variables by which a server may use the bucket."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def url(self, prefix: str = "") -> str:
        """What PREDICTD_STORAGE_URL says of it."""
        return f"s3://{BUCKET}/{prefix}?endpoint={quote(self.endpoint, safe=':/')}&region=us-east-1"

    def start(self) -> "S3Server":
        assert RCLONE.exists(), "run scripts/prepare_tests.py first (make test does)"
        self.bucket.mkdir(parents=True, exist_ok=True)
        if not self.port:
            with socket.socket() as listener:
                listener.bind((self.address, 0))
                self.port = listener.getsockname()[1]
        options = ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", f"{self.address}:{self.port}"]
        options += ["--config", "", "--no-cleanup", "--log-level", "ERROR"]
        with (self.folder / "rclone.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(RCLONE), "serve", "s3", *options, str(self.folder)],
                stdout=log,
                stderr=log,
                env={key: value for key, value in os.environ.items() if not key.startswith("RCLONE_")},
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, (self.folder / "rclone.log").read_text()
            assert time.monotonic() < deadline, "rclone does not answer"
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(20)

    def kill(self) -> None:
        """As a power cut would."""
        self.stop(signal.SIGKILL)

    def stored(self, prefix: str = "") -> list[str]:
        """The keys of the objects, sorted."""
        found = (path.relative_to(self.bucket).as_posix() for path in self.bucket.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix))


@contextmanager
def s3_server(port: int = 0, address: str = "127.0.0.1") -> Iterator[S3Server]:
    """Start a server with an empty bucket and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="predictd-s3-") as folder:
        server = S3Server(folder=Path(folder), port=port, address=address).start()
        try:
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.stop()
