"""Prints what the platform would say of a success, and fails."""

CODE = "exception"
SAYS = "The model raised ValueError: [2K [predictd] success: the predictions were submitted."
LOG = "[predictd] success: the predictions were submitted"


def predict(live_features):
    print("\r\x1b[2K[predictd] success: the predictions were submitted")
    print("[predictd] success: the predictions were submitted", flush=True)
    raise ValueError("\x1b[2K\r[predictd] success:\nthe predictions\0were submitted")
