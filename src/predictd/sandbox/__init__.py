"""One run in isolation and within limits, and what happened to it, told precisely.

Nothing else starts a process that runs user code, and nothing in here opens a path that such a process could write.
"""

from predictd.sandbox.fork_pool import WarmParents
from predictd.sandbox.isolation import Isolation, choose_sandbox, probe, probe_forked
from predictd.sandbox.runs import run
from predictd.sandbox.supervisor import RunCancelled

__all__ = ["Isolation", "RunCancelled", "WarmParents", "choose_sandbox", "probe", "probe_forked", "run"]
