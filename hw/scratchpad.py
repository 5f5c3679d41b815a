# SPDX-License-Identifier: Apache-2.0
"""The scratchpad: single-port banks, one word wide, word addresses interleaved.

::

    read ports ──┐                     ┌─ bank 0 ─┐
                 ├─ fixed priority ────┼─ bank 1 ─┼──► data, one cycle after the acceptance
    write ports ─┘   for each bank     └─ …      ─┘

Word ``a`` lies in bank ``a % banks``. Each bank accepts one port a cycle, the one of highest
priority; ports that want different banks do not see one another. A port that loses simply keeps
its request up.
"""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from hw.ports import SpmPort, SpmRead, SpmWrite
from isa.config import Config


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

    read: list[SpmPort]
    write: list[SpmPort]

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
        depth = config.spm_words // config.spm_banks
        requests = [(kind, i, getattr(self, kind)[i]) for kind, i in self._order]
        grants: dict[tuple[str, int], list[Signal]] = {(k, i): [] for k, i, _ in requests}
        outputs = []
        for b in range(config.spm_banks):
            ram = self.banks[b]
            m.submodules[f"bank{b}"] = ram
            write, read = ram.write_port(), ram.read_port()
            address = Signal(range(depth), name=f"address{b}")
            m.d.comb += [write.addr.eq(address), read.addr.eq(address)]
            m.d.comb += read.en.eq(0)
            outputs.append(read.data)
            wants = [Signal(name=f"want_{k}{i}_{b}") for k, i, _ in requests]
            for want, (_, _, port) in zip(wants, requests, strict=True):
                m.d.comb += want.eq(port.valid & (port.addr[:bits] == b))
            for rank, (kind, i, port) in enumerate(requests):
                grant = Signal(name=f"grant_{kind}{i}_{b}")
                grants[kind, i].append(grant)
                with m.Elif(wants[rank]) if rank else m.If(wants[rank]):
                    m.d.comb += [grant.eq(1), address.eq(port.addr[bits:])]
                    if kind == "read":
                        m.d.comb += read.en.eq(1)
                    else:
                        m.d.comb += [write.en.eq(1), write.data.eq(port.data)]
        for kind, i, port in requests:
            m.d.comb += port.ready.eq(Cat(*grants[kind, i]).any())
            if kind == "read":
                bank = Signal(bits, name=f"bank_of_read{i}")
                with m.If(port.valid):
                    m.d.sync += bank.eq(port.addr[:bits])
                m.d.comb += port.data.eq(Array(outputs)[bank])
        return m
