# SPDX-License-Identifier: Apache-2.0
"""Turns at a simulated chip, and the pieces of its memory."""

import threading

import pytest

from isa.chip import CHIPS
from sim.shared_chip import SharedChip, Turns


def test_a_turn_goes_to_who_has_waited_longest():
    """Also when the one who has it wants it again at once."""
    turns, order = Turns(), []

    def take(name):
        with turns:
            order.append(name)

    with turns:
        threads = []
        for k in range(4):
            threads.append(threading.Thread(target=take, args=(k,)))
            threads[-1].start()
            while len(turns._waiting) < k + 2:
                pass
    take("again")
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, "again"]


def test_a_turn_is_given_back_whatever_happens():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns:
        raise ZeroDivisionError
    with turns:
        pass
    assert not turns._waiting


def test_memory_that_was_given_back_is_used_again_and_zero():
    shared = SharedChip(CHIPS["chip2_tiny"])
    memory = shared.memory
    first = memory.take(8192)
    second = memory.take(4096)
    shared.harness.memory(first, 8192)[:] = 0x5A
    memory.give(first)
    assert memory.take(16384) not in (first, second)
    assert memory.take(4096) == first
    assert not shared.harness.memory(first, 8192).any()
    shared.close()
