"""Writes a whole answer onto the pipe and in the same breath what may not come after one."""

from inside import answer, channel_of_the_runner

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: more after the result."


def predict(live_features):
    import os
    import struct
    import time

    channel = channel_of_the_runner()
    forged = answer(live_features)
    ids = [one.encode() for one in forged.index]
    payload = struct.pack(">I", len(ids)) + b"".join(struct.pack(">I", len(one)) for one in ids) + b"".join(ids)
    payload += forged["prediction"].to_numpy("<f8").tobytes()
    frame = b"R" + struct.pack(">I", len(payload)) + payload
    channel.stage("write")
    while len(frame) > 1:
        frame = frame[os.write(channel._descriptor, frame[:-1]) :]
    time.sleep(0.3)
    os.write(channel._descriptor, frame + b"R\x00\x00\x00\x04\x00\x00\x00\x00")
    time.sleep(5)
