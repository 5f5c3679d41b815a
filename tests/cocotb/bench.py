# SPDX-License-Identifier: Apache-2.0
"""What the benches of the whole machine share: clock, AXI bus models, protocol watcher, host."""

import json
import os
import random
from collections import deque
from collections.abc import Mapping

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from isa.config import Config
from isa.instructions import Instruction, Opcode, Region, assembled
from isa.registers import OFFSET

MEMORY_BYTES = 1 << 18
BASES = {Region.PROGRAM: 0x3020, Region.WORKSPACE: 0x10000, Region.INPUT: 0x1_8F60,
         Region.OUTPUT: 0x2_4FE0}
SIZES = {Region.PROGRAM: 0x4000, Region.WORKSPACE: 0x4000, Region.INPUT: 0x4000,
         Region.OUTPUT: 0x4000}


def config() -> Config:
    """The configuration that the design under test was made from."""
    fields = json.loads(os.environ["BENCH_CONFIG"])
    return Config(**{**fields, "dtypes": tuple(fields["dtypes"])})


class Watcher:
    """Checks the master's side of the AXI protocol in every cycle."""

    PAYLOADS = {"aw": ("awaddr", "awlen", "awid"), "w": ("wdata", "wstrb", "wlast"),
                "ar": ("araddr", "arlen", "arid")}

    def __init__(self, dut, config: Config):
        self.dut, self.config = dut, config
        self.bursts = {"aw": [], "ar": []}
        self.outstanding = {"aw": 0, "ar": 0}
        self._handles = {}
        cocotb.start_soon(self._run())

    def _signal(self, name):
        if name not in self._handles:
            self._handles[name] = getattr(self.dut, f"m_axi_{name}")
        return self._handles[name]

    def _check_burst(self, channel: str, addr: int, beats: int) -> None:
        bus = self.config.bus_bytes
        assert beats <= self.config.max_burst
        assert addr % bus == 0
        assert addr // 4096 == (addr + beats * bus - 1) // 4096, f"{channel} crosses 4 KiB"
        assert int(self._signal(f"{channel}size").value) == bus.bit_length() - 1
        assert int(self._signal(f"{channel}burst").value) == 1
        self.bursts[channel].append((addr, beats))
        self.outstanding[channel] += 1

    def _answers(self) -> None:
        """Takes the bursts that are answered in this cycle off those outstanding."""
        for answer, address in (("b", "aw"), ("r", "ar")):
            if (self.outstanding[address] and int(self._signal(f"{answer}valid").value)
                    and int(self._signal(f"{answer}ready").value)
                    and (answer == "b" or int(self._signal("rlast").value))):
                self.outstanding[address] -= 1

    async def _run(self):
        held = dict.fromkeys(self.PAYLOADS)
        lengths, sent = deque(), deque([0])
        while True:
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            if int(self.dut.rst.value):
                held = dict.fromkeys(self.PAYLOADS)
                lengths, sent = deque(), deque([0])
                self.outstanding = {"aw": 0, "ar": 0}
                continue
            self._answers()
            for channel, names in self.PAYLOADS.items():
                valid = int(self._signal(f"{channel}valid").value)
                if not valid and held[channel] is None:
                    continue
                ready = int(self._signal(f"{channel}ready").value)
                payload = tuple(int(self._signal(n).value) for n in names)
                if held[channel] is not None:
                    assert valid and payload == held[channel], f"{channel} withdrawn"
                held[channel] = None if ready else payload
                if not ready:
                    continue
                if channel == "w":
                    sent[-1] += 1
                    if payload[2]:
                        sent.append(0)
                else:
                    self._check_burst(channel, payload[0], payload[1] + 1)
                    if channel == "aw":
                        lengths.append(payload[1] + 1)
            while lengths and len(sent) > 1:
                assert sent.popleft() == lengths.popleft(), "WLAST in the wrong beat"


class Bench:
    """The design with a memory and a host. ``stall`` is the chance that a channel rests; ``bases``
    and ``sizes`` say where the regions lie in the first ``memory`` bytes."""

    def __init__(self, dut, *, stall: float = 0.0, seed: int = 0,
                 bases: Mapping[Region, int] = BASES, sizes: Mapping[Region, int] = SIZES,
                 memory: int = MEMORY_BYTES):
        self.dut, self.config = dut, config()
        self.bases, self.sizes, self.memory_bytes = bases, sizes, memory
        self.rng = random.Random(seed)
        Clock(dut.clk, 10, "ns").start()
        dut.rst.value = 1
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=memory)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        for channel in (self.ram.write_if, self.ram.read_if, self.host.write_if,
                        self.host.read_if):
            channel.log.setLevel("WARNING")
        self.errors: dict[int, AxiResp] = {}
        self._inject()
        if stall:
            self.stall(stall)
        self.watcher = Watcher(dut, self.config)
        for region, size in sizes.items():
            self.ram.write(bases[region], np.random.default_rng(seed + region).bytes(size))

    def channels(self):
        ram, host = self.ram, self.host
        return (ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
                ram.read_if.ar_channel, ram.read_if.r_channel, host.write_if.aw_channel,
                host.write_if.w_channel, host.write_if.b_channel, host.read_if.ar_channel,
                host.read_if.r_channel)

    def stall(self, chance: float) -> None:
        for channel in self.channels():
            rng = random.Random(self.rng.random())
            channel.set_pause_generator(iter(lambda r=rng: r.random() < chance, None))

    def _inject(self) -> None:
        """Bursts that touch a byte of ``errors`` get its response instead of being done."""
        read_if, write_if = self.ram.read_if, self.ram.write_if
        read, write = read_if._read, write_if._write
        send_r, send_b = read_if.r_channel.send, write_if.b_channel.send
        pending = {"r": AxiResp.OKAY, "b": AxiResp.OKAY}

        def hit(address, length):
            found = [r for a, r in self.errors.items() if address <= a < address + length]
            return found[0] if found else AxiResp.OKAY

        async def faulty_read(address, length):
            pending["r"] = hit(address, length)
            return await read(address, length)

        async def faulty_write(address, data):
            resp = hit(address, len(data))
            if resp:
                pending["b"] = resp
            else:
                await write(address, data)

        async def send_read(r):
            r.rresp = pending["r"]
            await send_r(r)

        async def send_answer(b):
            b.bresp, pending["b"] = pending["b"], AxiResp.OKAY
            await send_b(b)

        read_if._read, write_if._write = faulty_read, faulty_write
        read_if.r_channel.send, write_if.b_channel.send = send_read, send_answer

    async def reset(self) -> None:
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)

    async def get(self, name: str) -> int:
        low = await self.host.read_dword(OFFSET[name])
        if f"{name}_HI" in OFFSET:
            low |= await self.host.read_dword(OFFSET[f"{name}_HI"]) << 32
        return low

    async def set(self, name: str, value: int) -> None:
        await self.host.write_dword(OFFSET[name], value & 0xFFFFFFFF)
        if f"{name}_HI" in OFFSET:
            await self.host.write_dword(OFFSET[f"{name}_HI"], value >> 32)

    async def regions(self, **sizes: int) -> None:
        """Set all regions up, with other sizes for those named."""
        for region in Region:
            await self.set(f"REGION{region:d}_BASE", self.bases[region])
            await self.set(f"REGION{region:d}_SIZE", sizes.get(region.name, self.sizes[region]))

    async def run(self, program: list[Instruction], at: int = 0, ends: bool = True) -> int:
        """Write the program and :meth:`execute` it."""
        image = assembled([*program, *[Instruction(Opcode.END)] * ends])
        self.ram.write(self.bases[Region.PROGRAM] + at, image)
        return await self.execute(at)

    async def execute(self, at: int = 0) -> int:
        """Ring the bell, wait for the interrupt; returns IRQ_STATUS, which is cleared again."""
        await self.set("PROGRAM", at)
        await self.set("CONTROL", 1)
        await self.set("DOORBELL", 1)
        if not int(self.dut.irq.value):
            await RisingEdge(self.dut.irq)
        causes = await self.get("IRQ_STATUS")
        await self.set("IRQ_STATUS", causes)
        return causes

    async def recover(self) -> None:
        """Reset by the host, until it has happened."""
        await self.set("CONTROL", 0b11)
        while await self.get("CONTROL") & 2:
            pass
        assert await self.get("STATUS") == 0b1000

    async def drained(self) -> None:
        """Nothing is under way, neither on the bus nor according to STATUS."""
        status = await self.get("STATUS")
        assert status & 0b1001 == 0b1000, f"STATUS is {status:04b}"
        assert self.watcher.outstanding == {"aw": 0, "ar": 0}

    def memory(self) -> np.ndarray:
        return np.frombuffer(self.ram.read(0, self.memory_bytes), np.uint8).copy()
