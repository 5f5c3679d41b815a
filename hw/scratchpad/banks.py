# SPDX-License-Identifier: Apache-2.0
"""The scratchpad: single-port banks, one word wide, word addresses interleaved.

::

    read ports ──► slots ─┬─ bank wanted ─► fixed priority for each bank ─ register ─┐
                          │                                                          ▼
    write ports ─► slots ─┴─ row, data ───────────────────── register ─► bank ─► register ─► data

Word ``a`` lies in bank ``a % banks``. A request waits in its port's slot, its bank decoded, so that
the arbiter begins at registers. Each bank takes one port a cycle, the one of highest priority;
ports that want different banks do not see one another. Row and data follow a cycle behind the bank,
so that nothing wide hangs on the arbiter.

Latency of a read that nobody disturbs: ``LATENCY`` cycles from its acceptance to its data.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import (Array, Assert, Cat, Const, Elaboratable, Module, Mux, ShapeLike, Signal,
                          Value)
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import SpmRead, SpmReader, SpmWrite, SpmWriter, view_of
from hw.parts.choice import any_before
from hw.parts.clock_gate import clocked
from hw.parts.delay import delay, register
from hw.parts.skid import Skid
from isa.config import Config


def request_layout(config: Config, writes: bool) -> data.StructLayout:
    """What goes to a bank: ``row`` in it; ``data`` of a write."""
    depth = config.spm_words // config.spm_banks
    word: dict[str, ShapeLike] = {"data": 8 * config.word_bytes} if writes else {}
    return data.StructLayout({"row": range(depth), **word})


class Slot(wiring.Component):
    """A port's requests on their way to the arbiter, two of them. Latency: a cycle. Throughput: a
    request a cycle. Stall: while the first is not granted its bank the second waits behind it, and
    then ``i`` is not ready.

    Parameters
    ----------
    config : Config
    writes : bool
        Of a write port.

    Members
    -------
    i : In(stream of bank and request)
    want : Out(banks)
        A bit for the bank of the first request, none if there is none.
    taken : In(1)
        The first request has been granted its bank.
    request : Out(request_layout)
        The request of the cycle before.
    waits : Out(1)
        There is a request.
    """

    i: stream.Interface
    want: Signal
    taken: Signal
    request: data.View
    waits: Signal

    def __init__(self, config: Config, writes: bool):
        self._layout = request_layout(config, writes)
        whole = data.StructLayout({"bank": range(config.spm_banks), "request": self._layout})
        super().__init__({
            "i": In(stream.Signature(whole)), "want": Out(config.spm_banks), "taken": In(1),
            "request": Out(self._layout), "waits": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        # nothing is wanted, and so taken, where there is no request
        m.submodules.bank = bank = Skid(len(self.want), eager=True)
        m.d.comb += [
            bank.i.payload.eq(Mux(self.i.valid, 1 << self.i.payload.bank, 0)),
            bank.i.valid.eq(self.i.valid), self.i.ready.eq(bank.i.ready),
            self.want.eq(bank.o.payload), bank.o.ready.eq(self.taken),
            self.waits.eq(bank.o.valid)]
        into, outof = Signal(), Signal()
        entries = [view_of(self._layout, name=f"entry{k}", reset_less=True) for k in range(2)]
        for k, entry in enumerate(entries):
            with m.If((into == k) & bank.i.ready):
                m.d.sync += entry.eq(self.i.payload.request)
        m.d.sync += [into.eq(into ^ (self.i.valid & self.i.ready)),
                     outof.eq(outof ^ (self.waits & self.taken)),
                     self.request.eq(Mux(outof, *(e.as_value() for e in reversed(entries))))]
        return m


class Scratchpad(wiring.Component):
    """Banks and the arbiter before each. Latency: as the module says. Throughput: a word a cycle of
    each bank. Stall: a request waits in its port's slot while ports of higher priority want its
    bank; data does not stall, its reader has a place for it.

    Parameters
    ----------
    config : Config
        Size and banks.
    reads, writes : int
        Ports of each kind.
    order : sequence of ("read" or "write", int), optional
        All ports from the highest priority to the lowest; by default reads, then writes.
    banks : mapping of ("read" or "write", int) to bits, optional
        Ports that ask for some of the banks alone: a bit for each bank that they may ask for.

    Members
    -------
    read : In(SpmRead(config)).array(reads)
    write : In(SpmWrite(config)).array(writes)
    wipe : In(1)
        Set a row of every bank to zero in each cycle, from the first row on; no port asks for
        anything then.
    wiped : Out(1)
        It is the last row's turn.
    banks : list of Memory
        For a simulation to look into.

    Raises
    ------
    ValueError
        If ``order`` is not a permutation of the ports.
    """

    LATENCY = 5

    read: list[SpmReader]
    write: list[SpmWriter]
    wipe: Signal
    wiped: Signal

    def __init__(self, config: Config, *, reads: int, writes: int,
                 order: Sequence[tuple[str, int]] | None = None,
                 banks: Mapping[tuple[str, int], int] | None = None):
        ports = [("read", i) for i in range(reads)] + [("write", i) for i in range(writes)]
        self._order = list(ports if order is None else order)
        if sorted(self._order) != sorted(ports):
            raise ValueError(f"order {self._order} does not name each of {ports} once")
        self._config = config
        self._asked = [(banks or {}).get(port, (1 << config.spm_banks) - 1)
                       for port in self._order]
        depth = config.spm_words // config.spm_banks
        self.banks: list[memory.Memory] = [
            memory.Memory(shape=8 * config.word_bytes, depth=depth, init=[],
                          attrs={"no_rw_check": 1})  # type: ignore[dict-item]  # stubs: only str
            for _ in range(config.spm_banks)]
        super().__init__({"read": In(SpmRead(config)).array(reads),
                          "write": In(SpmWrite(config)).array(writes),
                          "wipe": In(1), "wiped": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        bits = (config.spm_banks - 1).bit_length()
        slots = []
        for kind, i in self._order:
            port, slot = getattr(self, kind)[i], Slot(config, kind == "write")
            m.submodules[f"{kind}{i}"] = slot
            slots.append(slot)
            wanted = slot.i.payload
            m.d.comb += [slot.i.valid.eq(port.valid), port.ready.eq(slot.i.ready),
                         wanted.bank.eq(port.addr[:bits]), wanted.request.row.eq(port.addr[bits:])]
            if kind == "write":
                m.d.comb += [wanted.request.data.eq(port.data), port.pending.eq(slot.waits)]
        swept = Signal(range(config.spm_words // config.spm_banks))
        m.d.sync += swept.eq(Mux(self.wipe, swept + 1, 0))
        m.d.comb += self.wiped.eq(swept.all())
        granted: list[list[Value]] = [[Const(0, 1)] * config.spm_banks for _ in slots]
        words = []
        blocked: list[list[Value]] = [[] for _ in slots]
        for b in range(config.spm_banks):
            ranks = [rank for rank, asked in enumerate(self._asked) if asked >> b & 1]
            wants = Signal(len(ranks), name=f"wants{b}")
            grants = Signal(len(ranks), name=f"grants{b}")
            before, losts = any_before(wants), Signal(len(ranks), name=f"lost{b}")
            m.d.comb += [wants.eq(Cat(slots[rank].want[b] for rank in ranks)),
                         losts.eq(wants & before)]
            m.d.sync += grants.eq(wants & ~before)
            for rank, grant, lost in zip(ranks, grants, losts, strict=True):
                granted[rank][b] = grant
                blocked[rank].append(lost)
            words.append(self._bank(m, platform, b, swept, {
                rank: (slots[rank], grant) for rank, grant in zip(ranks, grants, strict=True)}))
        for rank, ((kind, i), slot, those) in enumerate(
                zip(self._order, slots, granted, strict=True)):
            m.d.comb += slot.taken.eq(~Cat(blocked[rank]).any())
            m.d.sync += Assert((slot.want & ~self._asked[rank]) == 0,
                               "a port asks for a bank that is not one of its own")
            if kind == "read":
                port, arrived = getattr(self, kind)[i], Signal(self.LATENCY - 1)
                m.d.sync += arrived.eq(Cat(slot.waits & slot.taken, arrived))
                number = [Cat(*(g for b, g in enumerate(those) if b >> k & 1)).any()
                          for k in range(bits)]
                bank = delay(m, Cat(*number), self.LATENCY - 2, f"bank_of_read{i}")
                m.d.comb += [port.arrived.eq(arrived[-1]), port.data.eq(Array(words)[bank])]
        return m

    def _bank(self, m: Module, platform: object, b: int, swept: Signal,
              ports: Mapping[int, tuple[Slot, Value]]) -> Value:
        """A bank and the registers around it, given the slots that may ask for it, by rank, and
        their grants; its output. ``swept``: the row that is set to zero, 0 while none is."""
        config = self._config
        depth = config.spm_words // config.spm_banks
        way, out, ram = Module(), Module(), self.banks[b]
        used = Cat(self.wipe, *(grant for _, grant in ports.values())).any()
        m.submodules[f"way{b}"] = clocked(m, platform, f"to{b}", wants=used, lasts=0)(way)
        place = clocked(m, platform, f"at{b}", wants=used, lasts=2)
        m.submodules[f"bank{b}"], m.submodules[f"from{b}"] = place(ram), place(out)
        write, read = ram.write_port(), ram.read_port()
        row = Signal(range(depth), name=f"row{b}", reset_less=True)
        word = Signal(8 * config.word_bytes, name=f"word{b}", reset_less=True)
        writes, reads = Signal(name=f"writes{b}"), Signal(name=f"reads{b}")
        chosen: dict[str, list[Value]] = {"read": [], "write": []}
        rows: list[Value] = [swept]
        words = []
        for rank, (slot, grant) in ports.items():
            kind, _ = self._order[rank]
            chosen[kind].append(grant)
            rows.append(Mux(grant, slot.request.row, 0))
            if kind == "write":
                words.append(Mux(grant, slot.request.data, 0))
        # nothing is granted while all is set to zero
        m.d.sync += [writes.eq(Cat(*chosen["write"], self.wipe).any()),
                     reads.eq(Cat(*chosen["read"]).any())]
        way.d.sync += [row.eq(reduce(or_, rows)), word.eq(reduce(or_, words))]
        m.d.comb += [read.addr.eq(row), read.en.eq(reads), write.addr.eq(row),
                     write.en.eq(writes), write.data.eq(word)]
        return register(out, f"data{b}", read.data)
