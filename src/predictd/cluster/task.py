"""The Ray task of a job: send the job to the daemon of the node and wait; the task runs no model itself.

When Ray ends this process (the run was cancelled or the server has ended), its connection to the daemon closes, and
the daemon ends the run.
"""

import os
import socket
import struct

SOCKET = "PREDICTD_NODE_SOCKET"
MAX_OUTCOME_BYTES = 4096


def run_job(spec: str) -> str:
    """Execute the job through the daemon and return the outcome, a small JSON object.

    Raises:
        RuntimeError: The node has no daemon, or the daemon has ended.
    """
    path = os.environ.get(SOCKET)
    if not path:
        raise RuntimeError("this node of Ray was not started by `predictd node`")
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            content = spec.encode()
            connection.sendall(struct.pack(">I", len(content)) + content)
            outcome = b""
            while len(outcome) < MAX_OUTCOME_BYTES and (part := connection.recv(MAX_OUTCOME_BYTES)):
                outcome += part
        except OSError as error:
            raise RuntimeError(f"the daemon of this node can't be reached: {error.strerror}") from None
    if not outcome.endswith(b"\n"):
        raise RuntimeError("the daemon of this node has ended")
    return outcome.decode("utf-8", "replace")
