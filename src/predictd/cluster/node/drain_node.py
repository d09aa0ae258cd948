"""Stop Ray from scheduling tasks on a node: `python -m predictd.cluster.node.drain_node ADDRESS NODE SECONDS`.

A separate process, because Ray ends a process that can't reach the head.
"""

import sys
import time


def main() -> None:
    """Send the request to the head; exit with 1 if it is rejected."""
    address, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # noqa: PLC0415
    from ray.core.generated import autoscaler_pb2  # noqa: PLC0415

    head = GcsClient(address=address)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # type: ignore[attr-defined]
    deadline = int((time.time() + seconds) * 1000)
    for node in head.get_all_node_info().values():
        if node.node_name == name and node.state == node.ALIVE:
            accepted, rejection = head.drain_node(node.node_id.hex(), reason, "the node is being stopped", deadline)
            if not accepted:
                sys.exit(rejection)


if __name__ == "__main__":
    main()
