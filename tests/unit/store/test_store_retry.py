"""Repetitions: how often, how long, of what."""

import time

import pytest

from wildcast_server.errors import AccessDeniedError, CredentialsExpiredError, NetworkError, SlowDownError, StoreError
from wildcast_server.store.retry import ONE_TRY, RetryPolicy

QUICK = RetryPolicy(deadline=5.0, first=0.001, most=0.002)


class Failing:
    """Work that raises one error after the other, and then returns."""

    def __init__(self, *errors: StoreError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_what_may_pass_is_tried_until_it_does():
    """Outages, requests for patience and expired credentials are each tried again."""
    work = Failing(NetworkError("a"), SlowDownError("b"), CredentialsExpiredError("c"))
    assert QUICK.call(work) == "done"
    assert work.calls == 4


def test_anything_else_is_raised_at_once():
    """A refusal would only come again."""
    work = Failing(AccessDeniedError("no"))
    with pytest.raises(AccessDeniedError):
        QUICK.call(work)
    assert work.calls == 1


def test_the_deadline_ends_it():
    """No repetition begins behind the deadline; the last failure is what is raised."""
    began = time.monotonic()
    with pytest.raises(NetworkError, match="away"):
        RetryPolicy(0.2, first=0.01, most=0.02).call(Failing(*[NetworkError("away")] * 10_000))
    assert 0.1 < time.monotonic() - began < 2


@pytest.mark.parametrize(("policy", "calls"), [(ONE_TRY, 1), (RetryPolicy(5.0, 0.001, 0.002, max_retries=2), 3)])
def test_repetitions_can_be_counted_out(policy: RetryPolicy, calls: int):
    """With a maximum there are as many repetitions and no more."""
    work = Failing(*[NetworkError("away")] * 10)
    with pytest.raises(NetworkError):
        policy.call(work)
    assert work.calls == calls


def test_the_judge_decides_and_is_told_when_each_try_began():
    """Who knows more than the kind of error may end it."""
    told: list[float] = []

    def judge(_error: StoreError, began: float) -> bool:
        told.append(began)
        return len(told) < 3

    work = Failing(*[NetworkError("away")] * 10)
    with pytest.raises(NetworkError):
        QUICK.call(work, judge)
    assert told == sorted(told)
    assert work.calls == len(told) == 3
