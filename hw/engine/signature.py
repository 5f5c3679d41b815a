# SPDX-License-Identifier: Apache-2.0
"""Signatures in a traced simulation: what each instruction of an engine wrote, as in
:mod:`isa.signature`.

::

    writes of a port ─► mix ─► sum since the start ─┬─ ends ─► FIFO ─► what the oldest group left
    (one for each port)                             └──────────────────────────────┐
                                                      done: sum over the ports, less the one before

Where an engine may write for its next instruction before the last one is done, each port marks the
end of a group of writes, and its running sum waits there. A group is an instruction, or a burst of
a STORE; ``settle`` takes groups, ``done`` says that an instruction's last one is being taken.
"""

from typing import Protocol

from amaranth.hdl import Assert, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from isa.signature import ADDRESS, BITS, CHUNK, FOLD, VALUE


def mix(at: Value, value: Value) -> Value:
    """The formula of :mod:`isa.signature`."""
    x = ((value ^ ((at + 1) * ADDRESS)[:BITS]) * VALUE)[:BITS]
    return x ^ (x >> FOLD)


class Writes(Protocol):
    """Type of a member with the signature :class:`WritePort`."""

    signature: wiring.Signature
    valid: Signal
    strobe: Signal
    at: Signal
    data: Signal
    ends: Signal


class WritePort(wiring.Signature):
    """Writes of one port, as the observer sees them: ``valid`` in a cycle in which the chunks of
    ``data`` whose bits of ``strobe`` are set are written, the first one at chunk ``at``; ``ends``
    in a cycle behind which, on this port, another group begins."""

    def __init__(self, data_bytes: int):
        super().__init__({"valid": Out(1), "strobe": Out(data_bytes // CHUNK), "at": Out(BITS),
                          "data": Out(8 * data_bytes), "ends": Out(1)})


class Signatures(wiring.Component):
    """Signatures of one engine's instructions.

    Parameters
    ----------
    ports : int
        Write ports of the engine.
    data_bytes : int
        Bytes of a write.
    depth : int
        Groups of a port that may have ended and not been settled; 0: a group ends when its
        instruction is done, and ``ends`` is not looked at.

    Members
    -------
    write : In(WritePort).array(ports)
    settle : In(1)
        The oldest group of every port counts from this cycle on.
    done : In(1)
        An instruction is complete, in a cycle with ``settle``.
    value : Out(32)
        Signature of the instruction that is ``done`` in this cycle.
    """

    write: list[Writes]
    settle: Signal
    done: Signal
    value: Signal

    def __init__(self, ports: int, data_bytes: int, depth: int = 0):
        self._depth = depth
        super().__init__({"write": In(WritePort(data_bytes)).array(ports), "settle": In(1),
                          "done": In(1), "value": Out(BITS)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        heads = []
        for k, write in enumerate(self.write):
            total, grown = Signal(BITS, name=f"total{k}"), Signal(BITS, name=f"grown{k}")
            m.d.comb += grown.eq(total)
            with m.If(write.valid):
                m.d.comb += grown.eq(total + sum(
                    (Mux(strobe, mix(write.at + c, write.data.word_select(c, BITS)), 0)
                     for c, strobe in enumerate(write.strobe)), Value.cast(0)))
            m.d.sync += total.eq(grown)
            heads.append(self._oldest(m, k, grown, write.ends) if self._depth else grown)
        left, before = Signal(BITS), Signal(BITS)
        m.d.comb += [left.eq(sum(heads, Value.cast(0))), self.value.eq(left - before)]
        with m.If(self.done):
            m.d.sync += before.eq(left)
        return m

    def _oldest(self, m: Module, k: int, grown: Signal, ends: Signal) -> Value:
        """The sum at the end of the oldest group of a port, which may end in this very cycle."""
        m.submodules[f"groups{k}"] = groups = fifo.SyncFIFO(width=BITS, depth=self._depth)
        m.d.comb += [groups.w_data.eq(grown), groups.r_en.eq(self.settle),
                     groups.w_en.eq(ends & (groups.r_rdy | ~self.settle))]
        m.d.sync += Assert(~(self.settle & ~groups.r_rdy & ~ends),
                           "a group of writes is settled that has not ended")
        return Mux(groups.r_rdy, groups.r_data, grown)
