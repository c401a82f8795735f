"""Rates never let more through than they say, whenever one looks; keys, addresses and floods are told apart."""

import random
from collections.abc import Callable
from copy import deepcopy

import pytest
from pydantic import SecretStr

from kakehashi.serving.api.limits import Access, Gate, Key, Limits, Rate, Usage
from kakehashi.serving.api.refusals import Refusal


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value


def test_no_period_lets_more_through_than_the_limit() -> None:
    draw, usage, now, passed = random.Random(1), Usage(Rate(20, "minute")), 0.0, []
    for _ in range(3_000):
        now += draw.expovariate(1.0)
        cost = draw.randint(1, 5)
        wait = usage.wait(cost, now)
        if wait == 0:
            usage.add(cost, now)
            passed.append((now, cost))
        else:
            assert deepcopy(usage).wait(cost, now + wait) == 0, "after the wait that is told the same is let through"
    for end, _ in passed:
        assert sum(cost for moment, cost in passed if end - 60 < moment <= end) <= 20
    assert sum(cost for _, cost in passed) > 0.9 * 20 * now / 60, "and little less than the limit"


def test_what_is_remembered_does_not_grow_with_use() -> None:
    usage = Usage(Rate(10**6, "minute"))
    for i in range(100_000):
        assert usage.wait(1, i / 1_000) == 0
        usage.add(1, i / 1_000)
    assert len(usage._used) <= 62


def test_slowdown_says_the_rate_and_when_to_come_back(clock: Clock) -> None:
    gate = Gate(Limits(minute=2), Access(), clock)
    client = gate.client(None, "192.0.2.1")
    gate.count(client, 2)
    clock.now += 10
    refusal = refused(lambda: gate.count(client, 1))
    assert (refusal.status, str(refusal)) == (429, "Slowdown: 2 per 1 minute")
    clock.now += int(refusal.headers["Retry-After"])
    gate.count(client, 1)
    gate.count(gate.client(None, "192.0.2.2"), 2)  # another one has his own


def test_all_periods_count_and_the_longest_wait_is_told(clock: Clock) -> None:
    gate = Gate(Limits(minute=5, hour=6, day=7), Access(), clock)
    client = gate.client(None, "192.0.2.1")
    gate.count(client, 5)
    assert str(refused(lambda: gate.count(client, 2))) == "Slowdown: 6 per 1 hour"
    clock.now += 61
    gate.count(client, 1)
    clock.now += 3_661
    gate.count(client, 1)
    assert str(refused(lambda: gate.count(client, 1))) == "Slowdown: 7 per 1 day"


def test_what_is_refused_does_not_count(clock: Clock) -> None:
    gate = Gate(Limits(minute=3), Access(), clock)
    client = gate.client(None, "192.0.2.1")
    for _ in range(5):
        refused(lambda: gate.count(client, 4))
    gate.count(client, 3)


def test_a_subscriber_has_one_ipv6_network(clock: Clock) -> None:
    gate = Gate(Limits(minute=1), Access(), clock)
    gate.count(gate.client(None, "2001:db8::1"), 1)
    refused(lambda: gate.count(gate.client(None, "2001:db8::ffff"), 1))
    gate.count(gate.client(None, "2001:db8:0:1::1"), 1)
    gate.count(gate.client(None, "fe80::1%eth0"), 1)
    gate.count(gate.client(None, ""), 1)


def test_keys_have_limits_of_their_own(clock: Clock) -> None:
    access = Access(keys=(Key(key=SecretStr("good"), minute=5),))
    gate = Gate(Limits(minute=1, hour=100, characters=9), access, clock)
    client = gate.client("good", "192.0.2.1")
    assert (client.allowance.minute, client.allowance.hour, client.allowance.characters) == (5, 100, 9)
    gate.count(client, 5)
    gate.count(gate.client(None, "192.0.2.1"), 1)
    gate.check("good")
    gate.check(None)
    gate.check("")
    assert (refused(lambda: gate.check("bad")).status, str(refused(lambda: gate.check("bad")))) == (
        403,
        "Invalid API key",
    )


def test_without_keys_any_key_passes() -> None:
    Gate(Limits(), Access()).check("whatever a client insists on")


def test_a_key_that_is_required() -> None:
    refusal = refused(lambda: Gate(Limits(), Access(required=True)).check(None))
    assert (refusal.status, str(refusal)) == (400, "Please contact the server operator to get an API key")
    there = Access(required=True, link="https://example.org/keys")
    assert str(refused(lambda: Gate(Limits(), there).check(""))) == "Visit https://example.org/keys to get an API key"


def test_floods_are_shut_out_for_an_hour(clock: Clock) -> None:
    gate = Gate(Limits(minute=1, flood=3), Access(), clock)
    client = gate.client(None, "192.0.2.1")
    gate.count(client, 1)
    for _ in range(3):
        assert refused(lambda: gate.count(client, 1)).status == 429
    clock.now += 61
    refusal = refused(lambda: gate.count(client, 1))
    assert (refusal.status, str(refusal)) == (403, "Too many request limits violations")
    clock.now += 3_661
    gate.count(client, 1)
