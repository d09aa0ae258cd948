"""What Ray runs for an order: it hands the order to the daemon of its node and waits; it runs nothing itself.

When Ray ends this process (the run was cancelled, the server is gone), its connection to the daemon ends too, and with
it the run's sandbox.
"""

import os
import socket
import struct

SOCKET = "PREDICTD_NODE_SOCKET"
MOST_ANSWER = 4096


def run_order(order: str) -> str:
    """Have the daemon carry the order out; answers its word, a small JSON object.

    Raises:
        RuntimeError: there is no daemon on this node, or it is gone.
    """
    path = os.environ.get(SOCKET)
    if not path:
        raise RuntimeError("this node of Ray was not started by `predictd node`")
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            content = order.encode()
            connection.sendall(struct.pack(">I", len(content)) + content)
            answer = b""
            while len(answer) < MOST_ANSWER and (part := connection.recv(MOST_ANSWER)):
                answer += part
        except OSError as error:
            raise RuntimeError(f"the daemon of this node can't be reached: {error.strerror}") from None
    if not answer.endswith(b"\n"):
        raise RuntimeError("the daemon of this node is gone")
    return answer.decode("utf-8", "replace")
