# SPDX-License-Identifier: Apache-2.0
"""A serial line of eight data bits, no parity, one stop bit (8N1), as streams of bytes.

::

    ──┐     ┌─────┬─────┬─   ─┬─────┬─────
      │start│  0  │  1  │  …  │  7  │ stop
      └─────┴─────┴─────┴─   ─┴─────┘

``divisor`` is the length of a bit in clock cycles.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

DATA_BITS = 8
MIN_DIVISOR = 4

RECEIVED = data.StructLayout({"data": DATA_BITS, "bad": 1})
"""A byte; ``bad``: its stop bit was not there, so that it is noise, a break or another rate."""


def check_divisor(divisor: int) -> None:
    """Raises ValueError if a bit of so many cycles cannot be sampled."""
    if divisor < MIN_DIVISOR:
        raise ValueError(f"a bit of {divisor} clock cycles is too short to be sampled: use "
                         f"{MIN_DIVISOR} or more")


class UartReceiver(wiring.Component):
    """Bytes from a line.

    A bit is sampled in its middle, behind a synchronizer of two registers. A start bit that is gone
    by its middle is a glitch and ignored; after a missing stop bit the line has to be high before
    the next byte. A byte waits in a register; one that comes before it is taken is lost.

    Latency: 9.5 bits and 3 cycles from the start bit's edge.

    Parameters
    ----------
    divisor : int

    Members
    -------
    rx : 1
        The line, asynchronous; high at rest.
    o : stream of :data:`RECEIVED`

    Raises
    ------
    ValueError
        If ``divisor`` is too small.
    """

    rx: Signal
    o: stream.Interface

    def __init__(self, divisor: int):
        check_divisor(divisor)
        self._divisor = divisor
        super().__init__({"rx": In(1), "o": Out(stream.Signature(RECEIVED))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        settling, line, before = Signal(init=1), Signal(init=1), Signal(init=1)
        busy, timer = Signal(), Signal(range(self._divisor))
        bit, shift = Signal(range(DATA_BITS + 2)), Signal(DATA_BITS)
        m.d.sync += [settling.eq(self.rx), line.eq(settling), before.eq(line)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~busy):
            m.d.sync += [busy.eq(before & ~line), bit.eq(0), timer.eq(self._divisor // 2 - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), bit.eq(bit + 1),
                         shift.eq(Cat(shift[1:], line))]
            with m.If((bit == 0) & line):
                m.d.sync += busy.eq(0)
            with m.If(bit == DATA_BITS + 1):
                m.d.sync += busy.eq(0)
                with m.If(~self.o.valid | self.o.ready):
                    m.d.sync += [self.o.valid.eq(1), self.o.payload.data.eq(shift),
                                 self.o.payload.bad.eq(~line)]
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto a line, one in ten bits.

    Parameters
    ----------
    divisor : int

    Members
    -------
    i : stream of a byte
    tx : 1
        The line, high at rest.

    Raises
    ------
    ValueError
        If ``divisor`` is too small.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, divisor: int):
        check_divisor(divisor)
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(DATA_BITS)), "tx": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        timer, left = Signal(range(self._divisor)), Signal(range(DATA_BITS + 3))
        line = Signal(DATA_BITS + 2, init=-1)
        m.d.comb += [self.i.ready.eq(left == 0), self.tx.eq(line[0])]
        with m.If(self.i.ready):
            with m.If(self.i.valid):
                m.d.sync += [line.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                             left.eq(DATA_BITS + 2), timer.eq(self._divisor - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1),
                         line.eq(Cat(line[1:], Const(1, 1)))]
        return m
