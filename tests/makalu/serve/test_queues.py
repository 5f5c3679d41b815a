# SPDX-License-Identifier: Apache-2.0
"""Fairness, priority and batching of the queues, without devices."""

import dataclasses
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makalu.facts import Cost
from makalu.serve.lane import Held
from makalu.serve.leases import Lease
from makalu.serve.queues import Compiled, Part, Queues
from makalu.serve.tenants import Tenant
from makalu.serve.terms import Terms

TENANT = Tenant("t", shares=100)


def model(name="m", batches=(1,), cycles=1000, delay=0.0):
    return Compiled(name, "1", {b: Held(f"{name}{b}", b"") for b in batches},
                    {b: Cost(cycles * b, 1, 1, 1) for b in batches}, delay)


def lease(name, **terms):
    return Lease(name, TENANT, Terms("d", **terms))


def part(compiled, elements=1, arrived=0.0, value=0):
    return Part(compiled, {"x": np.full((elements, 2), value)}, elements, arrived, Future())


def anyone(lease):
    return True


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(100, 5000)), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None)
def test_leases_that_always_wait_get_cycles_in_proportion_to_their_shares(wanted):
    """Within one execution of the longest program, for any shares and lengths (the bound of
    start-time fair queueing)."""
    queues = Queues(lambda: 0.0)
    leases = [lease(str(k), share=share) for k, (share, _) in enumerate(wanted)]
    models = [model(str(k), cycles=cycles) for k, (_, cycles) in enumerate(wanted)]
    got = [0] * len(leases)
    for x, m in zip(leases, models):
        queues.put(x, [part(m)])
    longest = max(cycles for _, cycles in wanted)
    for _ in range(300):
        batch, _ = queues.next(anyone)
        k = int(batch.lease.id)
        got[k] += batch.cost.cycles
        queues.put(leases[k], [part(models[k])])
        each = [g / share for g, (share, _) in zip(got, wanted)]
        smallest = min(share for share, _ in wanted)
        assert max(each) - min(each) <= 2 * longest / smallest


def test_a_lease_that_comes_back_gets_nothing_for_its_pause():
    queues, m = Queues(lambda: 0.0), model()
    busy, back = lease("busy"), lease("back")
    for _ in range(100):
        queues.put(busy, [part(m)])
        queues.next(anyone)
    queues.put(busy, [part(m) for _ in range(10)])
    queues.put(back, [part(m) for _ in range(10)])
    order = [queues.next(anyone)[0].lease.id for _ in range(8)]
    assert abs(order.count("busy") - order.count("back")) <= 2


def test_a_higher_priority_goes_first():
    queues, m = Queues(lambda: 0.0), model()
    low, high = lease("low", share=100), lease("high", priority=1)
    queues.put(low, [part(m), part(m)])
    queues.put(high, [part(m), part(m)])
    assert [queues.next(anyone)[0].lease.id for _ in range(4)] == ["high", "high", "low", "low"]


def test_parts_of_one_model_join_as_far_as_the_largest_batch_has_room():
    queues, x = Queues(lambda: 0.0), lease("x")
    m, other = model("m", (1, 4)), model("other")
    queues.put(x, [part(m, 1, value=1), part(other), part(m, 2, value=2), part(m, 2, value=3),
                   part(m, 1, value=4)])
    batch, _ = queues.next(anyone)
    assert batch.inputs()["x"][:, 0].tolist() == [1, 2, 2, 4]
    assert (batch.elements, batch.size, x.waiting) == (4, 4, 2)
    assert queues.next(anyone)[0].model is other
    batch, _ = queues.next(anyone)
    assert (batch.elements, batch.size) == (2, 4)       # two fit into four only


def test_parts_of_two_leases_never_join():
    queues, m = Queues(lambda: 0.0), model("m", (1, 4))
    a, b = lease("a"), lease("b")
    queues.put(a, [part(m)])
    queues.put(b, [part(m)])
    assert [queues.next(anyone)[0].elements for _ in range(2)] == [1, 1]


def test_a_batch_waits_for_its_delay_or_until_it_is_full():
    now = 10.0
    queues, x, m = Queues(lambda: now), lease("x"), model("m", (1, 2), delay=0.5)
    queues.put(x, [part(m, arrived=10.0)])
    assert queues.next(anyone) == (None, 10.5)
    queues.put(x, [part(m, arrived=10.1)])
    assert queues.next(anyone)[0].elements == 2
    queues.put(x, [part(m, arrived=10.2)])
    assert queues.next(anyone) == (None, pytest.approx(10.7))
    now = 10.7
    assert queues.next(anyone)[0].elements == 1
    assert queues.next(anyone) == (None, None)


def test_a_core_takes_only_the_leases_that_it_serves():
    queues, m = Queues(lambda: 0.0), model()
    a, b = lease("a"), lease("b")
    queues.put(a, [part(m)])
    queues.put(b, [part(m)])
    assert queues.next(lambda x: x is b)[0].lease is b
    assert queues.next(lambda x: x is b) == (None, None)


def test_what_is_put_first_stays_in_order_in_front():
    queues, x, m = Queues(lambda: 0.0), lease("x"), model()
    queues.put(x, [part(m, value=3)])
    queues.put(x, [part(m, value=1), part(m, value=2)], first=True)
    values = [int(queues.next(anyone)[0].inputs()["x"][0, 0]) for _ in range(3)]
    assert values == [1, 2, 3]


@pytest.mark.parametrize("busy", [False, True])
def test_leases_that_are_gone_leave_nothing(busy):
    """A queue that is empty, and not ahead of the others, is none."""
    queues, m, other = Queues(lambda: 0.0), model(), lease("other")
    for k in range(100):
        queues.put(lease(str(k)), [part(m)])
        if busy:
            queues.put(other, [part(m), part(m)])
        for _ in range(2):
            queues.next(anyone)
    assert len(queues._queues) <= 3


def test_what_a_process_died_over_runs_alone():
    queues, m, x = Queues(lambda: 0.0), model(batches=(1, 4), delay=9.0), lease("x")
    dead = [part(m), part(m)]
    for p in dead:
        p.deaths = 1
    queues.put(x, [*dead, part(m), part(m)])
    assert [len(queues.next(anyone)[0].parts) for _ in range(2)] == [1, 1]
    assert queues.next(anyone) == (None, 9.0)     # the others wait for more, together


def test_a_batch_takes_all_cores_of_its_lease():
    """Each core gets as much as fits best; a model whose requests cannot be put together has one
    core, whatever there are."""
    queues, a, m = Queues(lambda: 0.0), lease("a"), model(batches=(1, 4))
    queues.put(a, [part(m) for _ in range(3)])
    batch, _ = queues.next(lambda x: 3)
    assert (batch.elements, batch.size, batch.executions, batch.cycles) == (3, 1, 3, 3000)
    queues.put(a, [part(m, 4) for _ in range(4)])
    batch, _ = queues.next(lambda x: 3)
    assert (batch.elements, batch.size, batch.executions, batch.cycles) == (12, 4, 3, 12000)
    assert queues.next(lambda x: 0) == (None, None)
    assert queues.next(lambda x: 2)[0].executions == 1
    alone = dataclasses.replace(m, alike=False)
    queues.put(a, [part(alone, 4) for _ in range(2)])
    assert [queues.next(lambda x: 3)[0].executions for _ in range(2)] == [1, 1]


def test_a_batch_takes_as_many_teams_as_there_is_room_for():
    """Of a model that takes two cores together."""
    queues, a, m = Queues(lambda: 0.0), lease("a"), model(batches=(1, 4))
    two = dataclasses.replace(m, costs={b: dataclasses.replace(c, cores=2)
                                        for b, c in m.costs.items()})
    for cores, executions in ((5, 2), (2, 1), (1, 1)):
        queues.put(a, [part(two, 4) for _ in range(3)])
        batch, _ = queues.next(lambda x, cores=cores: cores)
        assert (batch.executions, batch.elements) == (executions, 4 * executions)
        assert batch.cycles == 2 * 4000 * executions
        queues.take(a)
