"""Connects to services behind local sockets: abstract ones have no file that could be hidden."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def predict(live_features):
    import socket

    paths = ["/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"]
    paths += ["/run/containerd/containerd.sock", "/tmp/.s.PGSQL.5432", "/run/postgresql/.s.PGSQL.5432", "/dev/log"]
    paths += ["/run/nscd/socket", "/run/podman/podman.sock", HOST["socket"]]

    def connect(address, kind):
        with socket.socket(socket.AF_UNIX, kind) as one:
            one.connect(address)

    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        for name in (HOST["abstract"], "/tmp/.X11-unix/X0", "/org/freedesktop/systemd1/private"):
            refused(f"abstract {name}", lambda n=name, k=kind: connect(f"\0{n}", k), "ECONNREFUSED")
        for path in paths:
            refused(path, lambda p=path, k=kind: connect(p, k), "ENOENT")
    return answer(live_features)
