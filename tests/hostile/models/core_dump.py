"""Dies so that its memory would be dumped, to a file or to a program of the machine's."""

CODE = "killed"
SAYS = "The model's process died of signal 6 (SIGABRT)."


def predict(live_features):
    import os
    import resource

    assert resource.getrlimit(resource.RLIMIT_CORE) in ((0, 0), (1, 1))
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/fs/suid_dumpable"):
        try:
            with open(path, "w") as file:
                file.write("|/bin/sh -c 'touch /tmp/hostile-core'")
            print("open", path)
        except OSError as error:
            print("shut", error)
    os.chdir("/tmp")
    os.abort()
