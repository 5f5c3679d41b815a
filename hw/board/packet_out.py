# SPDX-License-Identifier: Apache-2.0
"""Responses onto a line: first byte, header, payload from the buffer, CRC."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.board.packet_in import CRC_BITS, crc_step
from hw.board.uart import DATA_BITS
from hw.engine.ports import view_of
from isa.packets import CRC_BYTES, CRC_START, MAX_PAYLOAD, REPLY_BYTES, RESPONSE

REPLY = data.StructLayout({"status": 8, "sequence": 8, "count": 16})
"""As in :mod:`isa.packets`; ``count`` bytes of the buffer follow."""


class PacketSender(wiring.Component):
    """Sends responses.

    A response is taken when its last byte has been; ``i`` is stable until then, and so is the
    buffer.

    Members
    -------
    i : stream of :data:`REPLY`
    place, byte
        Address of a byte of the buffer, and the byte one cycle later.
    o : stream of a byte
    """

    i: stream.Interface
    place: Signal
    byte: Signal
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(REPLY)), "place": Out(range(MAX_PAYLOAD)),
                          "byte": In(8), "o": Out(stream.Signature(DATA_BITS))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        reply = view_of(REPLY)
        place, crc = Signal(range(MAX_PAYLOAD + 1)), Signal(CRC_BITS)
        sent, looked = Signal(), Signal()
        m.d.comb += [sent.eq(self.o.valid & self.o.ready), self.place.eq(place)]
        with m.If(sent):
            m.d.sync += [place.eq(place + 1), crc.eq(crc_step(crc, self.o.payload))]
        with m.FSM(name="state"):
            with m.State("First"):
                m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(RESPONSE)]
                with m.If(sent):
                    m.d.sync += [reply.eq(self.i.payload), place.eq(0), crc.eq(CRC_START)]
                    m.next = "Header"
            with m.State("Header"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(reply.as_value()[:DATA_BITS])]
                with m.If(sent):
                    m.d.sync += reply.eq(reply.as_value() >> DATA_BITS)
                with m.If(sent & (place == REPLY_BYTES - 1)):
                    m.d.sync += [place.eq(0), looked.eq(0)]
                    m.next = "Payload"
            with m.State("Payload"):
                m.d.comb += [self.o.valid.eq(looked & (place != self.i.payload.count)),
                             self.o.payload.eq(self.byte)]
                m.d.sync += looked.eq(~sent)
                with m.If(place == self.i.payload.count):
                    m.d.sync += place.eq(0)
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(crc[DATA_BITS:])]
                with m.If(sent):
                    m.d.sync += crc.eq(Cat(Const(0, DATA_BITS), crc[:DATA_BITS]))
                with m.If(sent & (place == CRC_BYTES - 1)):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "First"
        return m
