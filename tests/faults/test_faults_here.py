"""What strikes the server's own machine."""

import pytest

from faults.short import run_short_campaign


@pytest.mark.slow
def test_whatever_strikes_the_machine_every_run_ends_once_and_nothing_is_left_over() -> None:
    run_short_campaign("server", "worker", "disk", "clock")
