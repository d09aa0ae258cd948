"""schemathesis asks a real server whatever its schema allows, with a token, and finds nothing that breaks it."""

import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, Server, User

SCHEMATHESIS = ROOT / ".cache" / "schemathesis" / "bin" / "schemathesis"
CHECK = ROOT / "tests" / "clients" / "schemathesis_check.py"
# Of each field; SCHEMATHESIS_EXAMPLES=500 looks longer.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "3")
SEED = os.environ.get("SCHEMATHESIS_SEED", "8")


@pytest.mark.parametrize("scopes", ["all", "none"])
def test_whatever_the_schema_allows_is_answered_in_words(
    server: Server, user: User, scopes: str, tmp_path: Path
) -> None:
    token = user.token if scopes == "all" else "none"
    done = subprocess.run(
        [
            *(str(SCHEMATHESIS), "run", f"{server.address}/graphql", "--header", f"Authorization: Token {token}"),
            *("--phases", "fuzzing", "--checks", "refused_in_words", "--continue-on-failure", "--no-shrink"),
            *("--max-examples", EXAMPLES if scopes == "all" else "1", "--seed", SEED, "--workers", "2"),
        ],
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(CHECK), "SCHEMATHESIS_TELEMETRY": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resolver_failed" not in server.log
