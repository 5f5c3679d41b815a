# SPDX-License-Identifier: Apache-2.0
"""The scratchpad: single-port banks, one word wide, word addresses interleaved.

::

    read ports ──► slots ─┐                  ┌─ register ─ bank 0 ─┐
                          ├─ fixed priority ─┼─ register ─ bank 1 ─┼──► data
    write ports ─► slots ─┘  for each bank   └─ …                 ─┘

Word ``a`` lies in bank ``a % banks``. A request waits in its port's slot (:class:`hw.skid.Skid`),
its bank decoded, so that the arbiter begins at registers. Each bank takes one port a cycle, the
one of highest priority; ports that want different banks do not see one another.

Latency of a read that nobody disturbs: ``LATENCY`` cycles from its acceptance to its data.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In

from hw.delay import delay
from hw.ports import SpmRead, SpmReader, SpmWrite, SpmWriter
from hw.skid import Skid
from isa.config import Config


def request_layout(config: Config, writes: bool) -> data.StructLayout:
    """``want``: a bit for the bank, none if there is no request; ``row`` in that bank; ``data`` of
    a write."""
    depth = config.spm_words // config.spm_banks
    word: dict[str, ShapeLike] = {"data": 8 * config.word_bytes} if writes else {}
    return data.StructLayout({"want": config.spm_banks, "row": range(depth), **word})


def any_before(bits: Value) -> Value:
    """For each bit, whether a lower one is set."""
    before = (bits << 1)[:len(bits)]
    for k in range((len(bits) - 1).bit_length()):
        before = (before | before << (1 << k))[:len(bits)]
    return before


class Scratchpad(wiring.Component):
    """Banks and the arbiter before each.

    Parameters
    ----------
    config : Config
        Size and banks.
    reads, writes : int
        Ports of each kind.
    order : sequence of ("read" or "write", int), optional
        All ports from the highest priority to the lowest; by default reads, then writes.

    Members
    -------
    read : In(SpmRead(config)).array(reads)
    write : In(SpmWrite(config)).array(writes)
    banks : list of Memory
        For a simulation to look into.

    Raises
    ------
    ValueError
        If ``order`` is not a permutation of the ports.
    """

    LATENCY = 3

    read: list[SpmReader]
    write: list[SpmWriter]

    def __init__(self, config: Config, *, reads: int, writes: int,
                 order: Sequence[tuple[str, int]] | None = None):
        ports = [("read", i) for i in range(reads)] + [("write", i) for i in range(writes)]
        self._order = list(ports if order is None else order)
        if sorted(self._order) != sorted(ports):
            raise ValueError(f"order {self._order} does not name each of {ports} once")
        self._config = config
        depth = config.spm_words // config.spm_banks
        self.banks: list[memory.Memory] = [
            memory.Memory(shape=8 * config.word_bytes, depth=depth, init=[],
                          attrs={"no_rw_check": 1})  # type: ignore[dict-item]  # stubs: only str
            for _ in range(config.spm_banks)]
        super().__init__({"read": In(SpmRead(config)).array(reads),
                          "write": In(SpmWrite(config)).array(writes)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        bits = (config.spm_banks - 1).bit_length()
        slots = []
        for kind, i in self._order:
            port, slot = getattr(self, kind)[i], Skid(request_layout(config, kind == "write"))
            m.submodules[f"{kind}{i}"] = slot
            slots.append(slot)
            m.d.comb += [
                slot.i.payload.want.eq(Mux(port.valid, 1 << port.addr[:bits], 0)),
                slot.i.payload.row.eq(port.addr[bits:]), slot.i.valid.eq(port.valid),
                port.ready.eq(slot.i.ready)]
            if kind == "write":
                m.d.comb += [slot.i.payload.data.eq(port.data), port.pending.eq(slot.o.valid)]
        granted: list[list[Value]] = [[] for _ in slots]
        words = []
        blocked: Value = Const(0, len(slots))
        for b in range(config.spm_banks):
            wants, grants = (Signal(len(slots), name=f"{n}{b}") for n in ("wants", "grants"))
            before = any_before(wants)
            lost = Signal(len(slots), name=f"lost{b}")
            m.d.comb += [wants.eq(Cat(s.o.payload.want[b] for s in slots)),
                         lost.eq(wants & before), grants.eq(wants & ~before)]
            blocked |= lost
            for grant, those in zip(grants, granted, strict=True):
                those.append(grant)
            words.append(self._bank(m, b, wants, grants, slots))
        for rank, ((kind, i), slot, those) in enumerate(
                zip(self._order, slots, granted, strict=True)):
            m.d.comb += slot.o.ready.eq(~blocked[rank])
            if kind == "read":
                port, arrived = getattr(self, kind)[i], Signal(self.LATENCY - 1)
                m.d.sync += arrived.eq(Cat(slot.o.valid & slot.o.ready, arrived))
                number = [Cat(*(g for b, g in enumerate(those) if b >> k & 1)).any()
                          for k in range(bits)]
                bank = delay(m, Cat(*number), self.LATENCY - 1, f"bank_of_read{i}")
                m.d.comb += [port.arrived.eq(arrived[-1]), port.data.eq(Array(words)[bank])]
        return m

    def _bank(self, m: Module, b: int, wants: Value, grants: Value, slots: list[Skid]) -> Value:
        """A bank and the register before it; its output."""
        config = self._config
        depth = config.spm_words // config.spm_banks
        m.submodules[f"bank{b}"] = ram = self.banks[b]
        write, read = ram.write_port(), ram.read_port()
        row = Signal(range(depth), name=f"row{b}", reset_less=True)
        word = Signal(8 * config.word_bytes, name=f"word{b}", reset_less=True)
        writes, reads = Signal(name=f"writes{b}"), Signal(name=f"reads{b}")
        chosen: dict[str, list[Value]] = {"read": [], "write": []}
        wants_write = Cat(w for w, (kind, _) in zip(wants, self._order, strict=True)
                          if kind == "write").any()
        rows, words = [], []
        for (kind, _), slot, grant in zip(self._order, slots, grants, strict=True):
            chosen[kind].append(grant)
            rows.append(Mux(grant, slot.o.payload.row, 0))
            if kind == "write":
                words.append(Mux(grant, slot.o.payload.data, 0))
        m.d.sync += [writes.eq(Cat(*chosen["write"]).any()), reads.eq(Cat(*chosen["read"]).any())]
        with m.If(wants.any()):
            m.d.sync += row.eq(reduce(or_, rows))
        with m.If(wants_write):
            m.d.sync += word.eq(reduce(or_, words))
        m.d.comb += [read.addr.eq(row), read.en.eq(reads), write.addr.eq(row),
                     write.en.eq(writes), write.data.eq(word)]
        return read.data
