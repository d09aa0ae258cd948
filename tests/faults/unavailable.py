"""What this machine can't do."""


class Unavailable(Exception):
    """A fault that can't be had on this machine, and why."""
