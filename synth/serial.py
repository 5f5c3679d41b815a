# SPDX-License-Identifier: Apache-2.0
"""A block behind three pins, for tools that want every port of a design on a pin.

::

    give ─► register of all inputs, shifted ─► block ─► register of all outputs ─► xor ─► take

Every input comes from a flip-flop and every output goes to one, so that the block's paths are
between registers, and nothing of the block can be optimized away.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Serial(wiring.Component):
    """Parameters
    ----------
    block : Component
        Any block.

    Members
    -------
    give : In(1)
        The next bit of the inputs.
    take : Out(1)
        Parity of the outputs of the cycle before.
    """

    give: Signal
    take: Signal

    def __init__(self, block: wiring.Component):
        self._block = block
        super().__init__({"give": In(1), "take": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.block = block = self._block
        ports = list(block.signature.flatten(block))
        inputs = Cat(value for _, member, value in ports if member.flow is In)
        outputs = Cat(value for _, member, value in ports if member.flow is Out)
        given = Signal(len(inputs), reset_less=True)
        taken = Signal(len(outputs), reset_less=True)
        m.d.sync += [given.eq(Cat(self.give, given)), taken.eq(outputs),
                     self.take.eq(taken.xor())]
        m.d.comb += inputs.eq(given)
        return m
