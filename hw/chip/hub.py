# SPDX-License-Identifier: Apache-2.0
"""The interconnect: the buses of several cores on the channels of a memory.

::

    core 0 ── CoreReads, CoreWrites ─┬─ ChannelReads, ChannelWrites ── channel 0
    core 1 ── CoreReads, CoreWrites ─┼─ ChannelReads, ChannelWrites ── channel 1
    ...                              └─ ...

Channels are interleaved every :data:`hw.chip.interleave.INTERLEAVE` bytes. A burst that goes
on in the next channel is cut; the core sees one burst. A core's bursts of one ID are answered in
their order, as AXI says, whichever channel is first; fetch, LOAD and STORE do not wait for one
another. An error goes to the core whose burst it is.

What a group of cores reads together is read from memory once (:mod:`hw.chip.meeting`).

Nothing waits in a circle. Reads: a beat has its place before it is asked for, so no channel waits
for a core. Writes: a channel begins a piece when its data have begun to come, and a core has one
piece under way. A core that is reset by its control registers has been answered everything before
(:mod:`hw.control.registers`), and then nothing of it is here; it is taken out of its group first,
so that neither waits for the other.

A core is *held* while it waits for a member of its group that may still come, so that only who
keeps the others waiting is found by its watchdog: one that stands at a LOAD, while a member does
not; and one that stands at an instruction, while a member stands nowhere. Instructions are read
ahead: who stands there may have something else to do. If all stand at LOADs and those do not meet,
none is held.

Latency: AR 4 cycles (in a group 5), R 3 (4 where :mod:`hw.chip.depths` gives a channel more places
than :data:`hw.parts.fifo.COMB_DEPTH`), AW 3, W 2, B 3. Throughput: on each port a beat a cycle,
each way. Every port ends in registers, but for one gate at ``ar.ready`` of a core.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.channel_reads import ChannelReads, owner_layout
from hw.chip.channel_writes import ChannelWrites
from hw.chip.core_reads import CoreReads
from hw.chip.core_writes import CoreWrites
from hw.chip.depths import Depths, fetch_depths, load_depths, store_depths
from hw.memory.axi import AXI4, AXIPort
from hw.parts.repeated import repeated
from isa.config import Config


class Hub(wiring.Component):
    """Connects cores and channels.

    Parameters
    ----------
    config : Config
        Of each core.
    cores : int
    channels : int
        A power of two.
    groups : int
        Sets of cores that read together.
    depths : tuple of Depths, optional
        Of LOAD, instruction fetch and STORE instead of those of :mod:`hw.chip.depths`, for a
        proof.

    Members
    -------
    cores : In(AXI4(config)) for each core
        Bursts of up to ``config.max_burst`` full beats, within 4 KiB.
    gang : range(groups + 1) for each core
        The group that it reads with where its ``ar`` has ``user`` set, from 1 on, or none, 0; as it
        is when the burst is taken.
    together : cores
        Who fetches instructions with that group.
    members : ``cores`` bits for each group
    held : cores
    channels : Out(AXI4(config)) for each channel
        IDs are of ``owner_layout(cores, groups)``: the core's own ID and its number. Addresses are
        those of the cores; bursts do not leave the channel's part of them. Responses are always
        taken, and may be in any order between IDs, beats of different bursts mixed.

    Raises
    ------
    ValueError
        If there is no core, or ``channels`` is not a power of two.
    """

    cores: list[AXIPort]
    gang: list[Signal]
    together: Signal
    members: list[Signal]
    held: Signal
    channels: list[AXIPort]

    def __init__(self, config: Config, *, cores: int, channels: int, groups: int = 0,
                 depths: tuple[Depths, Depths, Depths] | None = None):
        if cores < 1:
            raise ValueError(f"a hub of {cores} cores has nobody to serve; use 1 or more")
        if channels < 1 or channels & (channels - 1):
            raise ValueError(f"{channels} channels: the channel of an address is some of its bits; "
                             "use a power of two")
        self._config, self._cores, self._channels = config, cores, channels
        self._groups = groups
        self._depths = depths or (load_depths(config, channels), fetch_depths(config, channels),
                                  store_depths(config))
        super().__init__({
            "cores": In(AXI4(config)).array(cores),
            "gang": In(range(groups + 1)).array(cores), "together": In(cores),
            "members": In(cores).array(groups), "held": Out(cores),
            "channels": Out(AXI4(config, owner_layout(cores, groups).size)).array(channels)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, (load, fetch, store) = self._config, self._depths
        reads, writes = [], []
        for k in range(len(self.cores)):
            reads.append(repeated(m, platform, "core_reads", k, lambda: CoreReads(
                config, self._channels, (load, fetch), self._groups)))
            writes.append(repeated(m, platform, "core_writes", k, lambda: CoreWrites(
                config, self._channels, store)))
            self._core(m, k, reads[k], writes[k])
        stand = []
        for c in range(self._channels):
            read_side = repeated(m, platform, "channel_reads", c, lambda: ChannelReads(
                config, self._cores, self._groups))
            write_side = repeated(m, platform, "channel_writes", c, lambda: ChannelWrites(
                config, self._cores, self._groups))
            self._reads(m, c, read_side, reads)
            self._writes(m, c, write_side, writes)
            stand.append(read_side.stand)
        self._hold(m, *(reduce(or_, kind) for kind in zip(*stand, strict=True)))
        return m

    def _core(self, m: Module, k: int, read: CoreReads, write: CoreWrites) -> None:
        """The port of a core."""
        core = self.cores[k]
        m.d.comb += [read.gang.eq(self.gang[k]), read.together.eq(self.together[k])]
        for name, part in (("ar", read), ("aw", write), ("w", write)):
            connect(m, flipped(getattr(core, name)), getattr(part, name))
        connect(m, read.r, flipped(core.r))
        connect(m, write.b, flipped(core.b))

    def _hold(self, m: Module, loads: Value, fetches: Value) -> None:
        """Who is held, of those that stand at a meeting somewhere."""
        held = []
        for members in self.members:
            elsewhere = (members & ~loads).any()
            nowhere = (members & ~loads & ~fetches).any()
            held.append(members & (loads & elsewhere.replicate(len(loads))
                                   | ~loads & fetches & nowhere.replicate(len(loads))))
        if held:
            m.d.sync += self.held.eq(reduce(or_, held))

    def _reads(self, m: Module, c: int, side: ChannelReads, cores: list[CoreReads]) -> None:
        """AR and R of a channel, with all kinds of reads of the cores."""
        channel = self.channels[c]
        connect(m, side.ar, flipped(channel.ar))
        connect(m, flipped(channel.r), side.r)
        m.d.comb += [to.eq(of) for to, of in zip(side.members, self.members, strict=True)]
        for k, (core, asks) in enumerate(zip(cores, side.asks, strict=True)):
            for ours, theirs in zip(core.asks, asks, strict=True):
                connect(m, ours[c], theirs)
            for beats, whose in zip(core.beats, side.whose, strict=True):
                m.d.comb += [beats[c].valid.eq(whose[k]), beats[c].payload.eq(side.beat)]

    def _writes(self, m: Module, c: int, side: ChannelWrites, cores: list[CoreWrites]) -> None:
        """AW, W and B of a channel."""
        channel = self.channels[c]
        connect(m, side.aw, flipped(channel.aw))
        connect(m, side.w, flipped(channel.w))
        connect(m, flipped(channel.b), side.b)
        for k, core in enumerate(cores):
            connect(m, core.pieces[c], side.pieces[k])
            connect(m, core.beats[c], side.beats[k])
            connect(m, side.answers[k], core.answers[c])
