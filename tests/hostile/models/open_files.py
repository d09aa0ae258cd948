"""Opens files until there are no more descriptors, here and in the whole machine."""

CODE = "exception"
CAUSE = "open_files"
SAYS = "The model raised OSError: [Errno 24] Too many open files: '/dev/null'."


def predict(live_features):
    kept = []
    while len(kept) < 5000:
        kept.append(open("/dev/null"))  # noqa: SIM115
    print("open", len(kept), "files")
