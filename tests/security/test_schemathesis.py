"""schemathesis asks a real server whatever its schema allows, with a token, and finds nothing that breaks it."""

import os
import subprocess
from pathlib import Path

from conftest import ROOT, Server, User

SCHEMATHESIS = ROOT / ".cache" / "schemathesis" / "bin" / "schemathesis"
CHECK = ROOT / "tests" / "clients" / "schemathesis_check.py"
# Of each field; SCHEMATHESIS_EXAMPLES=500 looks longer.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "3")
SEED = os.environ.get("SCHEMATHESIS_SEED", "8")


def test_whatever_the_schema_allows_is_answered_in_words(server: Server, user: User, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(SCHEMATHESIS), "run", f"{server.address}/graphql", "--header", f"Authorization: Token {user.token}"),
            *("--phases", "fuzzing", "--checks", "refused_in_words", "--continue-on-failure", "--no-shrink"),
            *("--max-examples", EXAMPLES, "--seed", SEED, "--workers", "2"),
        ],
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(CHECK), "SCHEMATHESIS_TELEMETRY": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resolver_failed" not in server.log
