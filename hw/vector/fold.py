# SPDX-License-Identifier: Apache-2.0
"""One window of those of all lanes: a tree of sums, or of larger keys.

A maximum and an exact sum do not depend on the order of the elements, so the tree is whichever is
smallest. Its first level joins a lane with the one half of all lanes further: of FP32, of which a
word has half as many elements, those further are left out.
"""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data

from hw.engine.ports import view_of
from hw.vector.taps import KEY_BITS, state_layout
from isa.config import Config
from isa.instructions import DType


def fold_latency(config: Config) -> int:
    """Cycles of :func:`fold`."""
    return (config.lanes // 2).bit_length() - 1


def fold(m: Module, config: Config, c: data.View, states: Sequence[data.View]) -> data.View:
    """The window of all elements together, of :func:`hw.vector.taps.state_layout`, fold_latency
    cycles after ``states``; ``c``: TAP_CONSTANTS."""
    single: Value | int = c.dtype == DType.FP32
    for level in range(fold_latency(config)):
        half = len(states) // 2
        states = [_both(m, f"fold{level}_{k}", config, c.sum, states[k], states[k + half], single)
                  for k in range(half)]
        single = 0
    return states[0]


def _both(m: Module, name: str, config: Config, is_sum: Value, a: data.View, b: data.View,
          single: Value | int) -> data.View:
    """Two windows as one, a cycle later; ``single``: ``a`` alone."""
    both, none = view_of(state_layout(config), name=name, reset_less=True), b.none | single
    keys = [n.value[:KEY_BITS].as_signed() for n in (a, b)]
    second = ~none & (a.none | (keys[1] > keys[0]))
    m.d.sync += [both.none.eq(a.none & none),
                 both.flags.eq(a.flags.as_value() | b.flags.as_value()),
                 both.value.eq(Mux(is_sum, a.value + b.value, Mux(second, b.value, a.value)))]
    return both
