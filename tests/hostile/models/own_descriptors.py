"""Looks at every descriptor of its processes: whatever is of the server's, but for the documented ones, is printed."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import stat

    def kind_of(mode):
        kinds = (stat.S_ISSOCK, "socket"), (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISREG, "file")
        return next((name for test, name in kinds if test(mode)), "other")

    pipes = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
        except OSError:  # a process that this one may not look into
            continue
        for number in map(int, numbers):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{number}")
                status = os.stat(f"/proc/{pid}/fd/{number}")
                with open(f"/proc/{pid}/fdinfo/{number}") as file:
                    flags = int(file.read().split("flags:")[1].split()[0], 8)
            except OSError:  # that of the listing, or of a process that has ended
                continue
            kind = kind_of(status.st_mode)
            if pid == "1" and link == "anon_inode:[eventfd]":
                continue  # bubblewrap's own, by which it learns how the run ended
            if link == "/dev/null" or (kind == "file" and flags & os.O_ACCMODE == os.O_RDONLY):
                continue
            if kind == "pipe":
                pipes.append((link, number))
                continue
            print("open", pid, number, link, kind)
    if len({link for link, _ in pipes}) > 3:
        print("open", pipes)
    return answer(live_features)
