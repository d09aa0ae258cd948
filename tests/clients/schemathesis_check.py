"""What schemathesis checks of each answer: it is 200 and JSON, and says only what is meant for whoever asked.

An error in words is a good answer to nonsense, which schemathesis' own check takes for a broken server.
"""

import schemathesis

# Of Python and of what stands behind the server.
INNER = ("Traceback", "Internal server error", "sqlalchemy", "sqlite3", "psycopg", "object at 0x", "site-packages")


@schemathesis.check
def refused_in_words(ctx, response, case) -> None:
    assert response.status_code == 200, f"status {response.status_code}"
    told = response.json()
    assert set(told) <= {"data", "errors"}, f"fields {sorted(told)}"
    for error in told.get("errors", []):
        assert error["message"].strip(), "an error without words"
        found = [word for word in INNER if word in error["message"]]
        assert not found, f"{found} in: {error['message']}"
