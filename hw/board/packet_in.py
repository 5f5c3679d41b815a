# SPDX-License-Identifier: Apache-2.0
"""Requests from a line: header, payload and CRC, or the reason why there is none.

::

    first byte ─► header (8) ─► payload ─► CRC (2) ─► packet, held until it is answered
         ▲           └── anything wrong ──► wait until the line is quiet ─► refusal, likewise
         └──────────────────────────────────────────────────────────────────────┘

The payload goes to a buffer while it comes. Whatever goes wrong (a byte without a stop bit, a count
larger than the buffer, a CRC that does not match, bytes that do not come) may be due to a lost or
invented byte, so that the end of the packet is not known: what comes is dropped until nothing has
come for ``timeout`` cycles. Bytes in front of a packet that are not its first are dropped, too.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.board.uart import DATA_BITS, RECEIVED
from hw.engine.ports import view_of
from isa.packets import (CRC_BYTES, CRC_POLYNOMIAL, CRC_START, HEADER_BYTES, MAX_PAYLOAD, REQUEST,
                         WITH_PAYLOAD, Status)

HEADER = data.StructLayout({"command": 8, "sequence": 8, "count": 16, "address": 32})
"""As in :mod:`isa.packets`, first byte in the lowest bits."""

PACKET = data.StructLayout({"header": HEADER, "status": 8})
"""A request; its payload is in the buffer. With a ``status`` other than OK it is to be refused."""

CRC_BITS = 8 * CRC_BYTES


def crc_step(crc: Value, byte: Value) -> Value:
    """The CRC after one more byte."""
    bits = [crc[i] for i in range(CRC_BITS)]
    for i in reversed(range(DATA_BITS)):
        out = bits[-1] ^ byte[i]
        bits = [out if not k else bits[k - 1] ^ out if CRC_POLYNOMIAL >> k & 1 else bits[k - 1]
                for k in range(CRC_BITS)]
    return Cat(*bits)


class PacketReceiver(wiring.Component):
    """Takes requests from a line.

    Latency: 2 cycles from the last byte to the packet, or ``timeout`` to a refusal.

    Parameters
    ----------
    timeout : int
        Cycles without a byte after which a packet is given up.

    Members
    -------
    i : stream of :data:`hw.board.uart.RECEIVED`
        Always taken; bytes that come while a packet is held are dropped.
    o : stream of :data:`PACKET`
    store : 1
        Strobe: put ``byte`` into the buffer at ``place``.
    place, byte
    """

    i: stream.Interface
    o: stream.Interface
    store: Signal
    place: Signal
    byte: Signal

    def __init__(self, timeout: int):
        self._timeout = timeout
        super().__init__({"i": In(stream.Signature(RECEIVED)), "o": Out(stream.Signature(PACKET)),
                          "store": Out(1), "place": Out(range(MAX_PAYLOAD)), "byte": Out(8)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        header, status = view_of(HEADER), Signal(8)
        crc, place = Signal(CRC_BITS), Signal(range(MAX_PAYLOAD + 1))
        quiet = Signal(range(self._timeout + 1))
        byte, came, bad = self.i.payload.data, self.i.valid, self.i.payload.bad
        over = quiet == self._timeout
        full = data.View(HEADER, Cat(header.as_value()[DATA_BITS:], byte))
        writes, count = full.command.matches(*WITH_PAYLOAD), full.count
        m.d.comb += [self.i.ready.eq(1), self.byte.eq(byte), self.place.eq(place),
                     self.o.payload.header.eq(header), self.o.payload.status.eq(status)]
        m.d.sync += quiet.eq(Mux(came, 0, Mux(over, quiet, quiet + 1)))
        with m.If(came):
            m.d.sync += [crc.eq(crc_step(crc, byte)), place.eq(place + 1)]

        def broken() -> None:
            with m.If(came & bad):
                m.d.sync += status.eq(Status.BAD_BYTE)
                m.next = "Drain"
            with m.Elif(over):
                m.d.sync += status.eq(Status.TIMEOUT)
                m.next = "Hold"

        with m.FSM(name="state"):
            with m.State("Idle"):
                m.d.sync += [crc.eq(CRC_START), place.eq(0), status.eq(Status.OK)]
                with m.If(came & ~bad & (byte == REQUEST)):
                    m.next = "Header"
            with m.State("Header"):
                with m.If(came):
                    m.d.sync += header.eq(full)
                with m.If(came & (place == HEADER_BYTES - 1)):
                    m.d.sync += place.eq(0)
                    with m.If(~writes | (count == 0)):
                        m.next = "CRC"
                    with m.Elif(count <= MAX_PAYLOAD):
                        m.next = "Payload"
                    with m.Else():
                        m.d.sync += status.eq(Status.BAD_COUNT)
                        m.next = "Drain"
                broken()
            with m.State("Payload"):
                m.d.comb += self.store.eq(came)
                with m.If(came & (place == header.count - 1)):
                    m.d.sync += place.eq(0)
                    m.next = "CRC"
                broken()
            with m.State("CRC"):
                with m.If(came & (place == CRC_BYTES - 1)):
                    m.next = "Check"
                broken()
            with m.State("Check"):
                m.next = "Hold"
                with m.If(crc != 0):        # the CRC over data and their CRC is zero
                    m.d.sync += status.eq(Status.BAD_CRC)
                    m.next = "Drain"
            with m.State("Drain"), m.If(over):
                m.next = "Hold"
            with m.State("Hold"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Idle"
        return m
