"""Takes away what the runner stands on: no JSON, no struct, another pid."""

CODE = "exited"
SAYS = "The model ended the process (exit code 1) before it answered."


def predict(live_features):
    import json
    import struct

    def broken(*arguments, **options):
        raise RuntimeError("gone")

    json.dumps = struct.pack = broken
    return live_features[["feature_a"]]
