"""The deployment that a command of the admin works on."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from predictd.cli.options import read_settings
from predictd.cli.output import say
from predictd.db.audit import Actor, act_as
from predictd.domain.runs import SandboxKind
from predictd.sandbox import choose_sandbox
from predictd.server.deployment import Deployment, open_deployment
from predictd.settings import Settings


@contextmanager
def use_deployment(data_dir: Path | None) -> Iterator[Deployment]:
    """Open the deployment in the data dir, whether or not a server runs on it, and close it at the end."""
    deployment = open_deployment(read_settings(data_dir=data_dir))
    try:
        with act_as(Actor(interface="command line", at=datetime.now(UTC), user=_user())):
            yield deployment
    finally:
        deployment.database.close()


def server_sandbox(settings: Settings) -> SandboxKind:
    """Return the sandbox of the deployment; print a warning if models run without isolation."""
    kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
    if missing:
        say(f"Models run without isolation, because the users are trusted: {missing}")
    return kind


def _user() -> str:
    """Return the user of this machine who runs the command; a number if the user has no name."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    sudo_user = os.environ.get("SUDO_USER")
    return f"{name} (sudo: {sudo_user})" if sudo_user else name
