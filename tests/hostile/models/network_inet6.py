"""Opens a TCP connection to an IPv6 address of the Internet."""

CODE = "network_access"
SAYS = (
    "The model tried to use the network, which it does not have: "
    "OSError: [Errno 97] Address family not supported by protocol."
)


def predict(live_features):
    import socket

    print("open", socket.create_connection(("2606:2800:220:1::1", 80), timeout=5))
