"""The watchdog beside training, on a clock of its own."""

import threading

import pytest

from airjax.runs.watchdog import TIMES, Watchdog


@pytest.fixture
def ticks():
    """Let seconds pass for a watchdog that is not started: a tick of one second each, with so much processor time."""
    watchdog = Watchdog(lambda seen: None, least=20.0, patience=10.0)

    def run(seconds, used=1.0):
        said = None
        for _ in range(seconds):
            said = said or watchdog._pass(used)
        return said

    return watchdog, run


def test_a_busy_process_may_take_its_time_before_the_first_beat(ticks):
    assert ticks[1](10_000) is None


def test_an_idle_process_is_ended_even_before_the_first_beat(ticks):
    assert ticks[1](20, used=0.0) is None
    assert "no processor time" in ticks[1](1, used=0.0)


def test_a_process_that_waits_now_and_then_is_not_idle(ticks):
    for _ in range(10):
        assert ticks[1](15, used=0.0) is None
        assert ticks[1](1) is None


@pytest.mark.parametrize("every", [1, 30])
def test_without_progress_it_ends_after_ten_times_the_median_or_the_least_that_is_granted(ticks, every):
    watchdog, run = ticks
    for seconds in (every, every, 5 * every, every, every):
        assert run(seconds) is None
        watchdog.beat()
    granted = max(20, int(TIMES) * every)
    assert run(granted) is None
    assert "no progress" in run(1)


def test_a_thread_watches_until_the_block_ends():
    ended = threading.Event()
    with Watchdog(lambda seen: ended.set(), least=1e6) as watchdog:
        watchdog.beat()
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
    with Watchdog(lambda seen: ended.set(), least=0.01) as watchdog:
        watchdog.beat()
        assert ended.wait()
