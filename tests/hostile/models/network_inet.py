"""Opens a TCP connection to an address of the Internet."""

CODE = "network_access"
SAYS = (
    "The model tried to use the network, which it does not have: "
    "OSError: [Errno 97] Address family not supported by protocol."
)


def predict(live_features):
    import socket

    print("open", socket.create_connection(("93.184.216.34", 80), timeout=5))
