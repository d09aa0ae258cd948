"""Have Ray place nothing on a node any more: `python -m predictd.cluster.drain_node ADDRESS NODE SECONDS`.

A process of its own, because Ray ends whoever asks it and can't reach it.
"""

import sys
import time


def main() -> None:
    """Ask the head; ends with 1 where it does not agree."""
    address, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # noqa: PLC0415
    from ray.core.generated import autoscaler_pb2  # noqa: PLC0415

    head = GcsClient(address=address)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # type: ignore[attr-defined]
    deadline = int((time.time() + seconds) * 1000)
    for node in head.get_all_node_info().values():
        if node.node_name == name and node.state == node.ALIVE:
            accepted, told = head.drain_node(node.node_id.hex(), reason, "the node is being stopped", deadline)
            if not accepted:
                sys.exit(told)


if __name__ == "__main__":
    main()
