# SPDX-License-Identifier: Apache-2.0
"""A host's packets (:mod:`isa.packets`) on the machine's registers and its memory.

::

    bytes ─► receiver ─► packet ─► checks ─┬─► gather 8 or 4 bytes ─► write ─┐ again until
               │ store                     ├─► read ─► scatter bytes ────────┤ count is 0
               ▼                           ├─► wait for the interrupt        │
             buffer ◄──────────────────────┘                                 ▼
               └───────────────────────────────────────────────────────► sender ─► bytes

The payload of a request, and then that of its response, is in one buffer, a block RAM. One request
is executed at a time; a byte of the buffer takes two cycles, a small part of what it takes on the
line.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.board.beats import BEAT_BITS, BEAT_BYTES, Beats, BeatsPort
from hw.board.packet_in import PacketReceiver
from hw.board.packet_out import PacketSender
from hw.board.uart import DATA_BITS, RECEIVED
from hw.memory.axi import AXI4Lite, AXIPort
from isa.packets import (HELLO_BYTES, MAX_PAYLOAD, PROTOCOL_VERSION, REGISTER_BYTES, WAIT_BITS,
                         WITH_PAYLOAD, Command, Status)
from isa.registers import REGISTER_SPACE_BITS

REGISTER_BITS = 8 * REGISTER_BYTES


class Bridge(wiring.Component):
    """Executes requests.

    Parameters
    ----------
    beat_bits : int
        Width of a beat's address in the memory, whose first byte has address 0.
    timeout : int
        Cycles without a byte after which a packet is given up.

    Members
    -------
    i : stream of :data:`hw.board.uart.RECEIVED`
    o : stream of a byte
    registers : :class:`hw.memory.axi.AXI4Lite`
    beats : :class:`hw.board.beats.Beats`
    irq : 1
        The machine's interrupt, for WAIT.
    busy, refused : 1
        A request is executed, or its response sent; the last one was refused.
    """

    i: stream.Interface
    o: stream.Interface
    registers: AXIPort
    beats: BeatsPort
    irq: Signal
    busy: Signal
    refused: Signal

    def __init__(self, beat_bits: int, timeout: int):
        self._beat_bits, self._timeout = beat_bits, timeout
        super().__init__({
            "i": In(stream.Signature(RECEIVED)), "o": Out(stream.Signature(DATA_BITS)),
            "registers": Out(AXI4Lite()), "beats": Out(Beats(beat_bits)), "irq": In(1),
            "busy": Out(1), "refused": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.receiver = receiver = PacketReceiver(self._timeout)
        m.submodules.sender = sender = PacketSender()
        buffer: memory.Memory = memory.Memory(shape=8, depth=MAX_PAYLOAD, init=[])
        m.submodules.buffer = buffer
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, sender.o, wiring.flipped(self.o))
        store, look = buffer.write_port(), buffer.read_port()
        header, reply = receiver.o.payload.header, sender.i.payload
        place, size = Signal(range(MAX_PAYLOAD + 1)), Signal(range(MAX_PAYLOAD + 1))
        word, status, scatter = Signal(BEAT_BITS), Signal(8), Signal()
        m.d.comb += [
            store.en.eq(receiver.store | scatter), sender.byte.eq(look.data),
            store.addr.eq(Mux(scatter, place, receiver.place)),
            store.data.eq(Mux(scatter, word[:DATA_BITS], receiver.byte)),
            look.addr.eq(Mux(sender.i.valid, sender.place, place)),
            reply.status.eq(status), reply.sequence.eq(header.sequence),
            self.busy.eq(receiver.o.valid), receiver.o.ready.eq(sender.i.ready)]

        step, looked = Signal(range(BEAT_BYTES)), Signal()
        waited, repeated = Signal(WAIT_BITS), self._repeated(m, sender.i.ready, header, status)
        last = (place + 1 == size) | (step == BEAT_BYTES - 1)
        start, finished, failed = self._access(m, header, word)
        with m.FSM(name="state"):
            with m.State("Idle"):
                m.d.sync += [place.eq(0), step.eq(0), looked.eq(0), waited.eq(header.address),
                             size.eq(header.count)]
                with m.If(receiver.o.valid):
                    m.d.sync += status.eq(self._status(receiver.o.payload))
                    m.next = "Decide"
            with m.State("Decide"):
                m.next = "Answer"
                with m.If(status == Status.OK), m.Switch(header.command):
                    with m.Case(Command.HELLO):
                        m.d.sync += [word.eq(self._hello()), size.eq(HELLO_BYTES)]
                        m.next = "Scatter"
                    with m.Case(Command.WAIT):
                        m.d.sync += size.eq(1)
                        m.next = "Wait"
                    with m.Case(Command.READ_REGISTER, Command.READ_MEMORY):
                        m.next = "Access"
                    with m.Default():
                        with m.If(~repeated):
                            m.next = "Gather"
            with m.State("Gather"):
                m.d.sync += looked.eq(~looked)
                with m.If(looked):
                    m.d.sync += [word.eq(Cat(word[DATA_BITS:], look.data)), place.eq(place + 1),
                                 step.eq(step + 1)]
                    with m.If(last):
                        m.next = "Access"
            with m.State("Access"):
                m.d.comb += start.eq(1)
                m.d.sync += step.eq(0)
                with m.If(finished):
                    m.next = "Gather"
                    with m.If(failed):
                        m.d.sync += status.eq(Status.BUS_ERROR)
                    with m.If(failed | (place == size)):
                        m.next = "Answer"
                    with m.Elif(~header.command.matches(*WITH_PAYLOAD)):
                        m.next = "Scatter"
            with m.State("Wait"):
                m.d.sync += [waited.eq(waited - 1), word.eq(self.irq)]
                with m.If(self.irq | (waited == 0)):
                    m.next = "Scatter"
            with m.State("Scatter"):
                m.d.comb += scatter.eq(1)
                m.d.sync += [word.eq(word >> DATA_BITS), place.eq(place + 1), step.eq(step + 1)]
                with m.If(last):
                    m.next = "Access"
                with m.If(place + 1 == size):
                    m.next = "Answer"
            with m.State("Answer"):
                gives = (status == Status.OK) & ~header.command.matches(*WITH_PAYLOAD)
                m.d.comb += [sender.i.valid.eq(1), reply.count.eq(Mux(gives, size, 0))]
                m.d.sync += self.refused.eq(status != Status.OK)
                with m.If(sender.i.ready):
                    m.next = "Idle"
        return m

    def _status(self, packet: data.View) -> Value:
        """What is wrong with a packet, or OK."""
        header, end = packet.header, BEAT_BYTES << self._beat_bits
        memory_access = header.command.matches(Command.READ_MEMORY, Command.WRITE_MEMORY)
        register_access = header.command.matches(Command.READ_REGISTER, Command.WRITE_REGISTER)
        beat = exact_log2(BEAT_BYTES)
        whole = (header.count[:beat] == 0) & (header.count != 0) & (header.count <= MAX_PAYLOAD)
        count = Mux(memory_access, whole, header.count == Mux(register_access, REGISTER_BYTES, 0))
        inside = (header.address[:beat] == 0) & (header.address + header.count <= end)
        a_register = (header.address[:2] == 0) & (header.address >> REGISTER_SPACE_BITS == 0)
        too_long = (header.command == Command.WAIT) & (header.address >> WAIT_BITS != 0)
        address = ~(memory_access & ~inside | register_access & ~a_register | too_long)
        status: Value = Mux(address, Status.OK, Status.BAD_ADDRESS)
        for good, otherwise in ((count, Status.BAD_COUNT),
                                (header.command.matches(*Command), Status.BAD_COMMAND),
                                (packet.status == Status.OK, packet.status)):
            status = Mux(good, status, otherwise)
        return status

    def _hello(self) -> Value:
        bits = self._beat_bits + exact_log2(BEAT_BYTES)
        return Cat(Const(PROTOCOL_VERSION, 8), Const(bits, 8), Const(MAX_PAYLOAD, 16))

    def _repeated(self, m: Module, answered: Value, header: data.View, status: Signal) -> Value:
        """Whether the last request was a write to a register with this sequence number."""
        wrote, sequence = Signal(), Signal(8)
        with m.If(answered & (status == Status.OK)):
            m.d.sync += [wrote.eq(header.command == Command.WRITE_REGISTER),
                         sequence.eq(header.sequence)]
        return (header.command == Command.WRITE_REGISTER) & wrote & (sequence == header.sequence)

    def _access(self, m: Module, header: data.View, word: Signal) -> tuple[Signal, Signal, Signal]:
        """One access of the kind that the command is, with ``word``, at the address that grows by
        a beat with each: while ``start`` is high, up to the strobe ``finished``."""
        start, finished, failed = Signal(), Signal(), Signal()
        registers, beats = self.registers, self.beats
        beat, asked, asked_data = Signal(self._beat_bits), Signal(), Signal()
        to_memory = header.command.matches(Command.READ_MEMORY, Command.WRITE_MEMORY)
        write = header.command.matches(*WITH_PAYLOAD)
        m.d.comb += [
            beats.request.payload.write.eq(write), beats.request.payload.beat.eq(beat),
            beats.request.payload.data.eq(word), beats.request.payload.strb.eq(-1),
            registers.aw.payload.eq(header.address), registers.ar.payload.eq(header.address),
            registers.w.payload.data.eq(word[BEAT_BITS - REGISTER_BITS:]),
            registers.w.payload.strb.eq(-1), registers.b.ready.eq(1), registers.r.ready.eq(1)]
        with m.If(~self.busy):
            m.d.sync += beat.eq(header.address[exact_log2(BEAT_BYTES):])
        with m.If(start & to_memory):
            m.d.comb += [beats.request.valid.eq(~asked),
                         finished.eq(Mux(write, beats.request.ready, beats.answer.valid))]
            m.d.sync += asked.eq(asked | beats.request.ready)
        with m.Elif(start & write):
            m.d.comb += [registers.aw.valid.eq(~asked), registers.w.valid.eq(~asked_data),
                         finished.eq(registers.b.valid), failed.eq(registers.b.payload != 0)]
            m.d.sync += [asked.eq(asked | registers.aw.ready),
                         asked_data.eq(asked_data | registers.w.ready)]
        with m.Elif(start):
            m.d.comb += [registers.ar.valid.eq(~asked), finished.eq(registers.r.valid),
                         failed.eq(registers.r.payload.resp != 0)]
            m.d.sync += asked.eq(asked | registers.ar.ready)
        with m.If(finished):
            m.d.sync += [asked.eq(0), asked_data.eq(0), beat.eq(beat + 1)]
            with m.If(~write):
                m.d.sync += word.eq(Mux(to_memory, beats.answer.data, registers.r.payload.data))
        return start, finished, failed
