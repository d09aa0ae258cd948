"""One run in isolation and within limits, and what happened to it, told precisely.

Nothing else starts a process that runs user code, and nothing in here opens a path that such a process could write.
"""

from predictd.sandbox.isolation import Isolation, choose_sandbox, probe, probe_forked
from predictd.sandbox.process import RunCancelled
from predictd.sandbox.runs import run
from predictd.sandbox.warm import WarmParents

__all__ = ["Isolation", "RunCancelled", "WarmParents", "choose_sandbox", "probe", "probe_forked", "run"]
