"""Schedules: exact, properties, refusals."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miest.plane.schedule import AtSteps, EverySchedule, LogSchedule, checked_step, schedule


def due(when, last):
    return [step for step in range(last + 1) if when(step)]


def test_log_schedule_by_hand():
    assert due(LogSchedule(per_decade=1), 2000) == [0, 1, 10, 100, 1000]
    assert due(LogSchedule(per_decade=2), 400) == [0, 1, 3, 10, 32, 100, 316]
    assert due(LogSchedule(), 32) == [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32]


def test_first_steps_are_all_due():
    assert due(LogSchedule(per_decade=1, first=12), 120) == [*range(13), 100]


def test_every_and_given_steps():
    assert due(EverySchedule(5), 12) == [0, 5, 10]
    assert due(AtSteps(7, 3, 7), 12) == due(AtSteps([3, 7]), 12) == [0, 3, 7]
    assert AtSteps(7, 3) == AtSteps([3, 7])


@given(st.integers(1, 40), st.integers(0, 3000))
def test_log_schedule_is_the_rounded_powers(per_decade, last):
    powers = {round(10 ** (i / per_decade)) for i in range(4 * per_decade + 1)}
    assert due(LogSchedule(per_decade=per_decade), last) == sorted({0, *(p for p in powers if p <= last)})


@given(
    st.sampled_from([LogSchedule(), LogSchedule(per_decade=3, first=9), EverySchedule(7), AtSteps(2, 11)]), st.data()
)
def test_a_schedule_has_no_memory(when, data):
    order = data.draw(st.permutations(range(40)))
    assert {step for step in order if when(step)} == set(due(when, 39))
    assert due(pickle.loads(pickle.dumps(when)), 39) == due(when, 39)
    assert when(np.int64(0))


def test_far_steps():
    when = LogSchedule()
    assert when(10**9)
    assert not when(10**9 + 1)
    assert when(round(10**8.7))


def test_what_when_takes():
    assert schedule(None) == LogSchedule()
    assert schedule(20) == EverySchedule(20)
    assert schedule(np.int64(20)) == EverySchedule(20)
    assert schedule([1, 5]) == AtSteps(1, 5)
    assert schedule(range(0, 9, 3)) == AtSteps(3, 6)
    odd = schedule(lambda step: step % 2 == 1)
    assert odd(3)
    assert not odd(2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LogSchedule(per_decade=0), "per_decade=0 must be an integer of at least 1"),
        (lambda: LogSchedule(first=-1), "first=-1 must be an integer of at least 0"),
        (lambda: EverySchedule(0), "k=0 must be"),
        (lambda: EverySchedule(True), "k=True must be"),
        (lambda: AtSteps(1.5), "steps=1.5 must be"),
        (lambda: schedule(LogSchedule), r"pass an instance, LogSchedule\(\)"),
        (lambda: schedule("log"), "when='log' is no schedule"),
        (lambda: schedule(1.5), "when=1.5 is no schedule"),
        (lambda: schedule(True), "when=True is no schedule"),
        (lambda: LogSchedule()(-1), "step=-1 must be an integer of at least 0"),
        (lambda: EverySchedule(2)(1.0), "step=1.0 must be"),
        (lambda: checked_step(True), "step=True must be"),
        (lambda: checked_step("3"), "step='3' must be"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()
