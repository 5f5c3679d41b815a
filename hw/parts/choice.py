# SPDX-License-Identifier: Apache-2.0
"""Choosing one of several that ask."""

from collections.abc import Iterable
from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike


def any_before(bits: Value) -> Value:
    """For each bit, whether a lower one is set."""
    before = (bits << 1)[:len(bits)]
    for k in range((len(bits) - 1).bit_length()):
        before = (before | before << (1 << k))[:len(bits)]
    return before


def first(bits: Value) -> Value:
    """The position of the lowest bit that is set; 0 if none is."""
    found: Value = Const(0, range(max(2, len(bits))))
    for k in reversed(range(len(bits))):
        found = Mux(bits[k], k, found)
    return found


def one_of(choice: Iterable[Value], values: Iterable[ValueLike]) -> Value:
    """The value beside the bit of ``choice`` that is set; zero if none is."""
    return reduce(or_, (Mux(bit, value, 0) for bit, value in zip(choice, values, strict=True)))


def turns(m: Module, name: str, asks: Value, taken: Value) -> Signal:
    """One of the bits of ``asks`` that are set, in turns: who was chosen in a cycle with ``taken``
    comes last from then on. Nobody who keeps asking is passed over more than ``len(asks) - 1``
    times."""
    choice, later = (Signal(len(asks), name=f"{name}_{what}") for what in ("choice", "later"))
    after = asks & later
    m.d.comb += choice.eq(Mux(after.any(), after & ~any_before(after), asks & ~any_before(asks)))
    with m.If(taken):
        m.d.sync += later.eq(any_before(choice))
    return choice
