"""What `predictd doctor` looks at beside the isolation: this machine, and the deployment on it.

Each check stands alone and has a time of its own, so that what is down keeps none of the others from being told.
"""

from predictd.doctor.checks import Check, State, run_checks

__all__ = ["Check", "State", "run_checks"]
