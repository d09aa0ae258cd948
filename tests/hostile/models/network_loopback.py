"""Connects to a service of this machine, which trusts whoever comes over 127.0.0.1."""

from inside import answer, refused

CODE = "success"
SAYS = None
LOG = "shut <urlopen error [Errno 97] Address family not supported by protocol>"
HOST = {}


def predict(live_features):
    import socket
    import subprocess
    import urllib.request

    for address in ("127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::ffff:127.0.0.1"):
        for port in (HOST["port"], 22, 5432, 8000):
            attempt = lambda a=address, p=port: socket.create_connection((a, p), timeout=2)  # noqa: E731
            refused(f"{address} {port}", attempt, "EAFNOSUPPORT")
    shell = f"exec 3<>/dev/tcp/127.0.0.1/{HOST['port']} && echo open by a shell"
    assert subprocess.run(["bash", "-c", shell], check=False).returncode != 0
    try:
        print("open", urllib.request.urlopen(f"http://localhost:{HOST['port']}", timeout=2))
    except OSError as error:
        print("shut", error)
    return answer(live_features)
