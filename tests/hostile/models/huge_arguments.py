"""Starts a program with an environment and arguments of megabytes."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import subprocess

    long = "x" * ((1 << 17) - 1)
    for amount in (20, 100):
        run = lambda n=amount: subprocess.run(["/usr/bin/true", *[long] * n], check=True)  # noqa: E731
        refused(f"{amount} arguments", run, "E2BIG")
        environment = {f"NAME{i}": long[:-10] for i in range(amount)}
        run = lambda e=environment: subprocess.run(["/usr/bin/true"], env=e, check=True)  # noqa: E731
        refused(f"{amount} variables", run, "E2BIG")
    refused("one argument", lambda: os.execv("/usr/bin/true", ["true", "x" * (1 << 20)]), "E2BIG")
    return answer(live_features)
