# SPDX-License-Identifier: Apache-2.0
"""Packets in, packets out: what is asked for is done, what is broken is refused and changes
nothing."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.board.bridge import Bridge
from isa.packets import (MAX_PAYLOAD, PROTOCOL_VERSION, WAIT_BITS, Command, Status, crc, request,
                         response)
from tests.hw.board.beat_memory import BeatMemory

BITS, TIMEOUT = 12, 50
SIZE = 8 << BITS


class Bench:
    """A bridge with a memory and a register file, and a host who speaks in bytes."""

    def __init__(self, irq_after=None):
        self.dut, self.memory = Bridge(BITS, TIMEOUT), BeatMemory(stall=0.3)
        self.registers, self.writes = {}, []
        self._irq_after, self._script = irq_after, None
        self.cycles = 0

    async def _registers(self, ctx):
        """An AXI4-Lite slave that answers SLVERR at 0xFF0."""
        r = self.dut.registers
        rng = random.Random(1)
        while True:
            ctx.set(r.ar.ready, rng.random() < 0.5)
            both = rng.random() < 0.5
            ctx.set(r.aw.ready, both)
            ctx.set(r.w.ready, both)
            *_, arv, arr, ara, awv, awr, awa, w = await ctx.tick().sample(
                r.ar.valid, r.ar.ready, r.ar.payload, r.aw.valid, r.aw.ready, r.aw.payload,
                r.w.payload)
            ctx.set(r.r.valid, arv and arr)
            ctx.set(r.r.payload, {"data": self.registers.get(ara, 0),
                                  "resp": 2 if ara == 0xFF0 else 0})
            ctx.set(r.b.valid, awv and awr)
            ctx.set(r.b.payload, 2 if awa == 0xFF0 else 0)
            if awv and awr:
                self.registers[awa] = w.data
                self.writes.append(awa)
            self.cycles += 1
            ctx.set(self.dut.irq, self._irq_after is not None and self.cycles > self._irq_after)

    async def send(self, ctx, data, bad=()):
        """Bytes, one in four cycles; those at the positions ``bad`` have no stop bit."""
        for k, byte in enumerate(data):
            ctx.set(self.dut.i.payload, {"data": byte, "bad": k in bad})
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.i.valid, 0)
            await ctx.tick().repeat(3)

    async def receive(self, ctx, patience=60_000):
        """The next response whole: (status, sequence, payload)."""
        got = bytearray()
        ctx.set(self.dut.o.ready, 1)
        for _ in range(patience):
            *_, valid, byte = await ctx.tick().sample(self.dut.o.valid, self.dut.o.payload)
            if valid:
                got.append(byte)
            if len(got) >= 5 and len(got) == 7 + int.from_bytes(got[3:5], "little"):
                status, sequence, payload = got[1], got[2], bytes(got[5:-2])
                assert bytes(got) == response(status, sequence, payload)
                return Status(status), sequence, payload
        raise AssertionError(f"no response, only {bytes(got)!r}")

    async def ask(self, ctx, *args):
        await self.send(ctx, request(*args))
        return await self.receive(ctx)

    def run(self, script):
        async def memory(ctx):
            await self.memory.run(ctx, self.dut.beats)

        async def host(ctx):
            await script(ctx, self)

        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(memory, background=True)
        sim.add_testbench(self._registers, background=True)
        sim.add_testbench(host)
        sim.run()
        return self


def test_hello():
    async def script(ctx, b):
        status, sequence, payload = await b.ask(ctx, Command.HELLO, 9, 0, 0)
        assert (status, sequence) == (Status.OK, 9)
        assert payload == bytes([PROTOCOL_VERSION, BITS + 3, MAX_PAYLOAD & 255, MAX_PAYLOAD >> 8,
                                 0, 0, 0, 0])
    Bench().run(script)


def test_memory():
    """Random pieces, and the largest one, are read as they were written."""
    async def script(ctx, b):
        rng = random.Random(3)
        image = bytearray(SIZE)
        pieces = [(0, 8), (SIZE - 8, 8), *((8 * rng.randrange(SIZE // 8 - 40),
                                            8 * rng.randrange(1, 40)) for _ in range(6)),
                  (SIZE - MAX_PAYLOAD, MAX_PAYLOAD)]
        for k, (at, size) in enumerate(pieces):
            data = rng.randbytes(size)
            image[at:at + size] = data
            assert await b.ask(ctx, Command.WRITE_MEMORY, k, size, at, data) == (Status.OK, k, b"")
        for k, (at, size) in enumerate(pieces):
            assert await b.ask(ctx, Command.READ_MEMORY, k, size, at) == (
                Status.OK, k, image[at:at + size])
    Bench().run(script)


def test_registers():
    async def script(ctx, b):
        for k in range(4):
            value = (0x89ABCDEF + k) & 0xFFFFFFFF
            assert (await b.ask(ctx, Command.WRITE_REGISTER, k, 4, 4 * k,
                                value.to_bytes(4, "little")))[0] == Status.OK
            assert b.registers[4 * k] == value
            assert await b.ask(ctx, Command.READ_REGISTER, k, 4, 4 * k) == (
                Status.OK, k, value.to_bytes(4, "little"))
        assert (await b.ask(ctx, Command.READ_REGISTER, 1, 4, 0xFF0))[0] == Status.BUS_ERROR
        assert (await b.ask(ctx, Command.WRITE_REGISTER, 2, 4, 0xFF0,
                            bytes(4)))[0] == Status.BUS_ERROR
    Bench().run(script)


def test_a_write_to_a_register_is_done_once():
    """The same packet again, as after a lost answer; not so with another number or after HELLO."""
    async def script(ctx, b):
        for sequence, want in ((7, 1), (7, 1), (7, 1), (8, 2)):
            assert (await b.ask(ctx, Command.WRITE_REGISTER, sequence, 4, 0x18,
                                bytes(4)))[0] == Status.OK
            assert len(b.writes) == want
        await b.ask(ctx, Command.HELLO, 8, 0, 0)
        await b.ask(ctx, Command.WRITE_REGISTER, 8, 4, 0x18, bytes(4))
        assert len(b.writes) == 3
    Bench().run(script)


def test_wait():
    """For the interrupt, or until its cycles are over."""
    async def script(ctx, b):
        assert await b.ask(ctx, Command.WAIT, 1, 0, 100) == (Status.OK, 1, b"\0")
        early = b.cycles
        assert await b.ask(ctx, Command.WAIT, 2, 0, 10_000) == (Status.OK, 2, b"\1")
        assert early < 1000 < b.cycles < 1200
    Bench(irq_after=1000).run(script)


GOOD = request(Command.WRITE_MEMORY, 5, 16, 64, bytes(range(16)))

BROKEN = {
    "bad CRC": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), (), Status.BAD_CRC),
    "flipped payload": (GOOD[:12] + bytes([GOOD[12] ^ 64]) + GOOD[13:], (), Status.BAD_CRC),
    "flipped address": (GOOD[:5] + bytes([GOOD[5] ^ 8]) + GOOD[6:], (), Status.BAD_CRC),
    "truncated": (GOOD[:-5], (), Status.TIMEOUT),
    "header alone": (GOOD[:4], (), Status.TIMEOUT),
    "first byte alone": (GOOD[:1], (), Status.TIMEOUT),
    "a lost byte": (GOOD[:11] + GOOD[12:], (), Status.TIMEOUT),
    "an invented byte": (GOOD[:11] + b"\x5a" + GOOD[11:], (), Status.BAD_CRC),
    "no stop bit": (GOOD, (13,), Status.BAD_BYTE),
    "no stop bit in the CRC": (GOOD, (len(GOOD) - 1,), Status.BAD_BYTE),
    "count larger than the buffer": (
        request(Command.WRITE_MEMORY, 5, MAX_PAYLOAD + 8, 64, bytes(range(200))), (),
        Status.BAD_COUNT),
    "unknown command": (request(77, 5, 0, 0), (), Status.BAD_COMMAND),
    "command zero": (request(0, 5, 0, 0), (), Status.BAD_COMMAND),
    "count of nothing": (request(Command.WRITE_MEMORY, 5, 0, 64), (), Status.BAD_COUNT),
    "odd count": (request(Command.READ_MEMORY, 5, 12, 64), (), Status.BAD_COUNT),
    "read too much": (request(Command.READ_MEMORY, 5, MAX_PAYLOAD + 8, 0), (), Status.BAD_COUNT),
    "count of a register": (request(Command.READ_REGISTER, 5, 8, 0), (), Status.BAD_COUNT),
    "endless wait": (request(Command.WAIT, 5, 0, 1 << WAIT_BITS), (), Status.BAD_ADDRESS),
    "odd address": (request(Command.WRITE_MEMORY, 5, 8, 4, bytes(8)), (), Status.BAD_ADDRESS),
    "behind the memory": (request(Command.WRITE_MEMORY, 5, 16, SIZE - 8, bytes(16)), (),
                          Status.BAD_ADDRESS),
    "far behind the memory": (request(Command.WRITE_MEMORY, 5, 8, 0xFFFFFFF8, bytes(8)), (),
                              Status.BAD_ADDRESS),
    "no register there": (request(Command.WRITE_REGISTER, 5, 4, 1 << 12, bytes(4)), (),
                          Status.BAD_ADDRESS),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_and_changes_nothing(name):
    """Afterwards the next packet is understood, even if what was broken looks like a first byte."""
    data, bad, want = BROKEN[name]

    async def script(ctx, b):
        await b.send(ctx, b"\x00\x13\x37")       # noise between packets
        await b.send(ctx, data, bad)
        assert (await b.receive(ctx))[0] == want
        assert not b.memory.data and not b.registers
        assert (await b.ask(ctx, *(Command.WRITE_MEMORY, 6, 8, 8, b"12345678")))[0] == Status.OK
        assert b.memory.data == {1: int.from_bytes(b"12345678", "little")}
    Bench().run(script)


def test_a_first_byte_without_a_stop_bit_begins_nothing():
    """It is noise that looks like one: what follows it is no packet, and is not answered."""
    async def script(ctx, b):
        await b.send(ctx, GOOD, bad=(0,))
        with pytest.raises(AssertionError, match="no response, only b''"):
            await b.receive(ctx, 4 * TIMEOUT)
        assert not b.memory.data
        assert (await b.ask(ctx, *(Command.WRITE_MEMORY, 6, 8, 8, b"12345678")))[0] == Status.OK
    Bench().run(script)


def test_random_damage():
    """Whatever one byte becomes, nothing is written, or all of it is as it was sent."""
    async def script(ctx, b):
        rng = random.Random(5)
        for _ in range(40):
            data = bytearray(GOOD)
            at = rng.randrange(1, len(data))
            data[at] ^= rng.randrange(1, 256)
            await b.send(ctx, data)
            assert (await b.receive(ctx))[0] != Status.OK
            assert not b.memory.data
    Bench().run(script)


def test_crc_is_that_of_the_standard():
    assert crc(b"123456789") == 0x29B1


def test_converts():
    rtlil.convert(Bridge(BITS, TIMEOUT))
