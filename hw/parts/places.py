# SPDX-License-Identifier: Apache-2.0
"""Places kept for what is under way, so that a pipeline into a buffer needs no stall."""

from amaranth.hdl import Module, Signal, Value


def places(m: Module, name: str, count: int, taken: Value, given: Value) -> tuple[Signal, Signal]:
    """Count ``count`` places, of which one may be ``taken`` and one ``given`` back in a cycle.
    Returns whether any is free and whether all are, both from flip-flops."""
    free, after = (Signal(range(count + 1), init=count, name=f"{name}_free"),
                   Signal(range(count + 1), name=f"{name}_after"))
    some, every = Signal(init=1, name=f"{name}_some"), Signal(init=1, name=f"{name}_every")
    m.d.comb += after.eq(free - taken + given)
    m.d.sync += [free.eq(after), some.eq(after != 0), every.eq(after == count)]
    return some, every
