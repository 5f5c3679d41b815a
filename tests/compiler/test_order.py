# SPDX-License-Identifier: Apache-2.0
"""The order of instructions keeps who sees what, and loads early what is needed early."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.machine.steps import SPM, Step
from compiler.order.dependencies import dependencies
from compiler.order.hazards import waits
from compiler.order.order import Orders, best_order
from isa.instructions import WAIT_BITS, WAIT_REACH, Opcode, Region
from isa.presets import PRESETS

QUICK = settings(max_examples=100, deadline=None)


def step(opcode: Opcode, reads: list, writes: list, region: Region = Region.WORKSPACE) -> Step:
    return Step(opcode, {"region": int(region)}, 0, 1, 0, reads, writes)


EXTENT = st.tuples(st.just(SPM), st.integers(0, 60), st.integers(1, 12)).map(
    lambda e: (e[0], e[1], e[1] + e[2]))
STEP = st.builds(step, st.sampled_from([Opcode.LOAD, Opcode.WINDOW, Opcode.VECTOR, Opcode.STORE]),
                 st.lists(EXTENT, max_size=3), st.lists(EXTENT, max_size=3))


def conflict(a: Step, b: Step) -> bool:
    """Word by word."""
    def words(extents: list) -> set[int]:
        return {w for _, low, high in extents for w in range(low, high)}
    return bool(words(a.writes) & (words(b.reads) | words(b.writes))
                or words(a.reads) & words(b.writes))


@QUICK
@given(st.lists(STEP, max_size=25), st.booleans())
def test_no_order_changes_who_sees_what(steps: list[Step], deepest: bool) -> None:
    config = PRESETS["tiny"]
    orders = Orders(steps, config)
    order, *_ = orders.arrange(list(range(len(steps))) if deepest else orders.ranks())
    assert sorted(order) == list(range(len(steps)))
    place = {me: k for k, me in enumerate(order)}
    assert all(place[a] < place[b] for b in range(len(steps)) for a in range(b)
               if conflict(steps[a], steps[b]))


@QUICK
@given(st.lists(STEP, max_size=25))
def test_dependencies_hold_every_conflict_and_nothing_else(steps: list[Step]) -> None:
    before: list[set[int]] = []
    for direct in dependencies(steps):
        before.append(direct.union(*(before[o] for o in direct)))
    closed: list[set[int]] = []
    for b, step in enumerate(steps):
        direct = {a for a in range(b) if conflict(steps[a], step)}
        closed.append(direct.union(*(closed[o] for o in direct)))
    assert before == closed


def test_the_time_that_an_order_takes_grows_with_the_program() -> None:
    """Eight times as many instructions: 64 times as long if each looked at all others."""
    def seconds(count: int) -> float:
        steps = [step(Opcode.LOAD, [], [(SPM, k % 8000, k % 8000 + 1)]) for k in range(count)]
        start = time.process_time()
        best_order(steps, PRESETS["core256"])
        return time.process_time() - start
    assert seconds(16000) < 24 * min(seconds(2000) for _ in range(3))


def test_what_is_needed_first_is_loaded_first() -> None:
    user = [step(Opcode.VECTOR, [(SPM, 100, 110)], [(SPM, 20 * k, 20 * k + 20)]) for k in (0, 1)]
    weights = step(Opcode.LOAD, [], [(SPM, 60, 70)])
    last = step(Opcode.VECTOR, [(SPM, 60, 70), (SPM, 0, 40)], [(SPM, 80, 90)])
    steps = [*user, weights, last]
    order, *_ = Orders(steps, PRESETS["tiny"]).arrange([0, 0, 0, 0])
    assert order.index(2) < order.index(1)  # the load does not wait behind the vector engine


def test_waits_name_the_last_conflicting_instruction() -> None:
    steps = [step(Opcode.LOAD, [], [(SPM, 0, 8)]), step(Opcode.LOAD, [], [(SPM, 8, 16)]),
             step(Opcode.TENSOR, [(SPM, 0, 8)], [(SPM, 16, 24)]),
             step(Opcode.STORE, [(SPM, 16, 20)], [(Region.WORKSPACE, 0, 64)]),
             step(Opcode.LOAD, [(Region.WORKSPACE, 0, 64)], [(SPM, 0, 4)])]
    waits(steps)
    assert [s.fields["wait_mask"] for s in steps] == [0, 0, 1, 2, 1 | 2 | 16]
    assert steps[2].fields["wait_load"] == 1  # not the second one
    assert steps[3].fields["wait_tensor"] == steps[4].fields["wait_store"] == 1


@pytest.mark.parametrize("between", [WAIT_REACH, WAIT_REACH + 1, 1 << 15, 1 << 16, 70_000])
def test_no_wait_is_for_something_too_long_ago(between: int) -> None:
    """Counters are compared modulo 2**16: what has completed long ago is waited for by a later
    instruction, and what is near by its own count, also beyond 2**16."""
    first, far = step(Opcode.LOAD, [], [(SPM, 0, 8)]), step(Opcode.TENSOR, [(SPM, 0, 8)], [])
    last, near = step(Opcode.LOAD, [], [(SPM, 8, 16)]), step(Opcode.TENSOR, [(SPM, 8, 16)], [])
    others = [step(Opcode.LOAD, [], []) for _ in range(between)]
    waits([first, *others, far, last, near])
    assert far.fields["wait_mask"] == near.fields["wait_mask"] == 1
    issued = 1 + between
    back = (issued - far.fields["wait_load"]) % (1 << WAIT_BITS)
    assert back == min(between, WAIT_REACH)
    assert near.fields["wait_load"] == (issued + 1) % (1 << WAIT_BITS)
