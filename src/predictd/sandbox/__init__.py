"""Run a model in isolation and within limits, and determine how the run ended.

No other package starts a process that runs user code. Nothing here opens a path that such a process can write to.
"""

from predictd.sandbox.fork_pool import ForkPool
from predictd.sandbox.isolated_run import run
from predictd.sandbox.isolation import Isolation, choose_sandbox, probe, probe_forked
from predictd.sandbox.supervisor import RunCancelledError

__all__ = ["ForkPool", "Isolation", "RunCancelledError", "choose_sandbox", "probe", "probe_forked", "run"]
