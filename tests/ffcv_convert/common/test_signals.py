"""Handlers of the signals that stop a program: set, put back, and left alone where they are somebody's."""

import os
import signal
from collections.abc import Iterator
from threading import Thread

import pytest

from ffcv_convert.common.atomic import stops_held
from ffcv_convert.common.signals import ASKED, STOPS, handled, unclaimed


@pytest.fixture(autouse=True)
def _as_a_shell_starts_it() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_a_handler_takes_a_signal_and_goes_again(number: signal.Signals) -> None:
    came: list[int] = []
    with handled(unclaimed(), lambda number, _: came.append(number)):
        os.kill(os.getpid(), number)
    assert came == [number]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_is_ignored_or_handled_is_left_alone() -> None:
    """nohup ignores SIGHUP; a scheduler's helper may handle SIGUSR1 by itself. Ctrl-C and SIGTERM are always taken."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert set(STOPS) - set(unclaimed()) == {signal.SIGHUP, signal.SIGUSR1}
    assert set(ASKED) < set(unclaimed())


def test_in_another_thread_nothing_is_handled() -> None:
    seen: list[object] = []

    def work() -> None:
        with handled(unclaimed(), lambda *_: None) as before, stops_held():
            seen.extend([before, signal.getsignal(signal.SIGTERM)])

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{}, signal.SIG_DFL]


@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_is_held_until_the_end_of_the_block(ignored: bool) -> None:
    """An ignored one does not hide the next."""
    came: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda number, _: came.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    with stops_held():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == []
    assert came == [signal.SIGTERM if ignored else signal.SIGHUP]
