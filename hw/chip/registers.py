# SPDX-License-Identifier: Apache-2.0
"""The registers of the chip control: what the host sets and sees of the job queues.

AXI4-Lite: one write and one read at a time, always OKAY. What is not a register reads as zero and
takes no writes. The registers of the cores are read through :attr:`ChipRegisters.peek`, and take no
writes: only the chip control writes them.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped
from amaranth.utils import bits_for

from hw.memory.axi import AXI4Lite, AXIPort
from hw.parts.skid import Skid
from isa.chip import ChipConfig
from isa.config import ISA_VERSION
from isa.jobs import IDENT, REGISTERS, RING_LIMIT
from isa.registers import REGISTER_SPACE_BITS

ALIGN = 12
"""Low bits of windows and rings that are zero."""


def address_bits(chip: ChipConfig) -> int:
    """Of the host's port."""
    return REGISTER_SPACE_BITS + bits_for(chip.cores)


def queue_layout(chip: ChipConfig) -> data.StructLayout:
    """What the host sets of a queue."""
    return data.StructLayout({
        "cores": chip.cores, "tenant": 16, "ring": unsigned(4), "window_base": 64,
        "window_size": 64, "jobs_base": 64, "jobs_tail": 16, "records_base": 64,
        "records_head": 16})


def peek_layout(chip: ChipConfig) -> data.StructLayout:
    """A register of a core."""
    return data.StructLayout({"core": range(chip.cores), "offset": REGISTER_SPACE_BITS})


class ChipRegisters(wiring.Component):
    """Latency: two cycles from an address to a register's value.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    host : :class:`hw.memory.axi.AXI4Lite`, as the slave
    irq : 1
    queues : array of ``queue_layout(chip)``
    heads, tails : arrays of 16
        JOBS_HEAD and RECORDS_TAIL of each queue.
    running, resetting : cores
    peek : stream of ``peek_layout(chip)``
        ``ready`` with the answer.
    peeked : 32
        The register's value, with ``peek.ready``.
    """

    host: AXIPort
    irq: Signal
    queues: data.View
    heads: data.View
    tails: data.View
    running: Signal
    resetting: Signal
    peek: stream.Interface
    peeked: Signal

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        positions = data.ArrayLayout(16, chip.queues)
        super().__init__({
            "host": In(AXI4Lite(address_bits(chip))), "irq": Out(1),
            "queues": Out(data.ArrayLayout(queue_layout(chip), chip.queues)),
            "heads": In(positions), "tails": In(positions),
            "running": In(chip.cores), "resetting": In(chip.cores),
            "peek": Out(stream.Signature(peek_layout(chip))), "peeked": In(32)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        read: dict[str, Value] = {}
        store: dict[str, Value] = {}
        self._chip_wide(m, read, store)
        for k in range(self._chip.queues):
            self._queue(k, read, store)
        self._write(m, store)
        self._read(m, read)
        return m

    def _chip_wide(self, m: Module, read: dict[str, Value], store: dict[str, Value]) -> None:
        chip = self._chip
        major, minor = ISA_VERSION
        enable = Signal()
        waits = Cat(self.tails[k] != self.queues[k].records_head for k in range(chip.queues))
        store["CONTROL"] = enable
        read |= {
            "IDENT": Const(IDENT, 32), "VERSION": Const(major << 16 | minor, 32),
            "CONFIG_HASH": Const(chip.hash & 0xFFFFFFFF, 32),
            "CONFIG_HASH_HI": Const(chip.hash >> 32, 32),
            "SHAPE": Const(chip.queues << 16 | chip.channels << 8 | chip.cores, 32),
            "CONTROL": enable, "IRQ_STATUS": waits,
            "RUNNING": self.running[:32], "RUNNING_HI": self.running[32:],
            "RESETTING": self.resetting[:32], "RESETTING_HI": self.resetting[32:]}
        m.d.sync += self.irq.eq(enable & waits.any())

    def _queue(self, k: int, read: dict[str, Value], store: dict[str, Value]) -> None:
        queue, name = self.queues[k], f"QUEUE{k}"
        store[f"{name}_CORES"], store[f"{name}_CORES_HI"] = queue.cores[:32], queue.cores[32:]
        for field in ("tenant", "ring", "jobs_tail", "records_head"):
            store[f"{name}_{field.upper()}"] = queue[field]
        for field in ("window_base", "window_size", "jobs_base", "records_base"):
            store[f"{name}_{field.upper()}"] = queue[field][:32]
            store[f"{name}_{field.upper()}_HI"] = queue[field][32:]
        read |= {register: value for register, value in store.items() if register not in read}
        read |= {f"{name}_JOBS_HEAD": self.heads[k], f"{name}_RECORDS_TAIL": self.tails[k]}

    def _write(self, m: Module, store: dict[str, Value]) -> None:
        host = flipped(self.host)
        aw, w = (self._arrived(m, n, getattr(host, n)) for n in ("aw", "w"))
        enable = Cat(bit.replicate(8) for bit in w.payload.strb)
        write = Signal()
        m.d.sync += write.eq(aw.valid & w.valid & (~host.b.valid | host.b.ready) & ~write)
        m.d.comb += [aw.ready.eq(write), w.ready.eq(write)]
        with m.If(write):
            m.d.sync += host.b.valid.eq(1)
            with m.Switch(aw.payload[2:]):
                for r in REGISTERS:
                    if r.name not in store:
                        continue
                    with m.Case(r.offset >> 2):
                        value = store[r.name]
                        new = (value & ~enable) | (w.payload.data & enable)
                        if r.name.endswith("_RING"):
                            new = Mux(new[:8] > RING_LIMIT, RING_LIMIT, new[:8])
                        m.d.sync += value.eq(new & -(1 << ALIGN) if self._aligned(r.name) else new)
        with m.Elif(host.b.ready):
            m.d.sync += host.b.valid.eq(0)

    @staticmethod
    def _aligned(name: str) -> bool:
        return name.endswith(("_BASE", "_SIZE"))

    def _read(self, m: Module, read: dict[str, Value]) -> None:
        host = flipped(self.host)
        ar = self._arrived(m, "ar", host.ar)
        page, offset = ar.payload[REGISTER_SPACE_BITS:], ar.payload[:REGISTER_SPACE_BITS]
        found, looking = Signal(32), Signal()
        free = ~host.r.valid | host.r.ready
        inside = page <= self._chip.cores
        with m.Switch(offset[2:]):
            for r in REGISTERS:
                if r.name in read:
                    with m.Case(r.offset >> 2):
                        m.d.sync += found.eq(read[r.name])
            with m.Default():
                m.d.sync += found.eq(0)
        m.d.comb += [self.peek.valid.eq(ar.valid & page.any() & inside & free),
                     self.peek.payload.core.eq(page - 1), self.peek.payload.offset.eq(offset),
                     ar.ready.eq(Mux(page.any() & inside, self.peek.valid & self.peek.ready,
                                     looking))]
        m.d.sync += looking.eq(ar.valid & ~(page.any() & inside) & free & ~looking)
        with m.If(looking | self.peek.valid & self.peek.ready):
            m.d.sync += [host.r.valid.eq(1),
                         host.r.payload.data.eq(Mux(page.any(), Mux(inside, self.peeked, 0),
                                                    found))]
        with m.Elif(host.r.ready):
            m.d.sync += host.r.valid.eq(0)

    @staticmethod
    def _arrived(m: Module, name: str, channel: stream.Interface) -> stream.Interface:
        """A channel from registers."""
        m.submodules[name] = skid = Skid(channel.payload.shape())
        wiring.connect(m, channel, skid.i)
        return skid.o
