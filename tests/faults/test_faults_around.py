"""What strikes that which the server stands on. Machines of a cluster die in tests/cluster, and in `make faults`."""

import pytest

from faults.short import run_short_campaign


@pytest.mark.slow
def test_whatever_strikes_around_the_server_every_run_ends_once_and_nothing_is_left_over() -> None:
    run_short_campaign("server", "postgresql", "s3", "network")
