"""Changes the runner under itself: it sends other values than those that it was given."""

CODE = "out_of_range"
SAYS = "2000 of 2000 predictions are not within 0 to 1, first 7.0 for id n000000000000000."


def predict(live_features):
    import struct
    import sys

    channel = sys.modules["predictd_runner.channel"].Channel
    real = channel.result
    channel.result = lambda self, ids, values: real(self, ids, struct.pack("<d", 7.0) * len(ids))
    sys.modules["predictd_runner.exceptions"].classify = None
    return live_features[["feature_a"]]
