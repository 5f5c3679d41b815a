# SPDX-License-Identifier: Apache-2.0
"""The interconnect: the buses of several cores on the channels of a memory.

::

    core 0 ── CoreReads, CoreWrites ─┬─ ChannelReads, ChannelWrites ── channel 0
    core 1 ── CoreReads, CoreWrites ─┼─ ChannelReads, ChannelWrites ── channel 1
    ...                              └─ ...

Channels are interleaved every :data:`hw.chip.interleave.INTERLEAVE_BYTES` bytes. A burst that goes
on in the next channel is cut; the core sees one burst. A core's bursts of one ID are answered in
their order, as AXI says, whichever channel is first; fetch, LOAD and STORE do not wait for one
another. An error goes to the core whose burst it is.

Nothing waits in a circle. Reads: a beat has its place before it is asked for, so no channel waits
for a core. Writes: a channel begins a piece when its data have begun to come, and a core has one
piece under way. A core that is reset by its control registers has been answered everything before
(:mod:`hw.control.registers`), and then nothing of it is here.

Latency: AR 4 cycles, R 3 (4 where :mod:`hw.chip.depths` gives a channel more places than
:data:`hw.parts.fifo.COMB_DEPTH`), AW 3, W 2, B 3. Throughput: on each port a beat a cycle, each
way. Every port ends in registers, but for one gate at ``ar.ready`` of a core.
"""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.channel_reads import ChannelReads, owner_layout
from hw.chip.channel_writes import ChannelWrites
from hw.chip.core_reads import CoreReads
from hw.chip.core_writes import CoreWrites
from hw.chip.depths import Depths, fetch_depths, load_depths, store_depths
from hw.memory.axi import AXI4, AXIPort
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
    depths : tuple of Depths, optional
        Of LOAD, instruction fetch and STORE instead of those of :mod:`hw.chip.depths`, for a
        proof.

    Members
    -------
    cores : In(AXI4(config)) for each core
        Bursts of up to ``config.max_burst`` full beats, within 4 KiB.
    channels : Out(AXI4(config)) for each channel
        IDs are of ``owner_layout(cores)``: the core's own ID and its number. Addresses are those
        of the cores; bursts do not leave the channel's part of them. Responses are always taken,
        and may be in any order between IDs, beats of different bursts mixed.

    Raises
    ------
    ValueError
        If there is no core, or ``channels`` is not a power of two.
    """

    cores: list[AXIPort]
    channels: list[AXIPort]

    def __init__(self, config: Config, *, cores: int, channels: int,
                 depths: tuple[Depths, Depths, Depths] | None = None):
        if cores < 1:
            raise ValueError(f"a hub of {cores} cores has nobody to serve; use 1 or more")
        if channels < 1 or channels & (channels - 1):
            raise ValueError(f"{channels} channels: the channel of an address is some of its bits; "
                             "use a power of two")
        self._config, self._cores, self._channels = config, cores, channels
        self._depths = depths or (load_depths(config, channels), fetch_depths(config, channels),
                                  store_depths(config))
        super().__init__({
            "cores": In(AXI4(config)).array(cores),
            "channels": Out(AXI4(config, owner_layout(cores).size)).array(channels)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, (*reading, writing) = self._config, self._depths
        load, fetch = reading
        reads = [CoreReads(config, self._channels, (load, fetch)) for _ in self.cores]
        writes = [CoreWrites(config, self._channels, writing) for _ in self.cores]
        for k, (core, read, write) in enumerate(zip(self.cores, reads, writes, strict=True)):
            m.submodules[f"core_reads{k}"], m.submodules[f"core_writes{k}"] = read, write
            for name, part in (("ar", read), ("aw", write), ("w", write)):
                connect(m, flipped(getattr(core, name)), getattr(part, name))
            connect(m, read.r, flipped(core.r))
            connect(m, write.b, flipped(core.b))
        for c, channel in enumerate(self.channels):
            m.submodules[f"channel_reads{c}"] = read_side = ChannelReads(config, self._cores)
            m.submodules[f"channel_writes{c}"] = write_side = ChannelWrites(config, self._cores)
            for name, side in (("ar", read_side), ("aw", write_side), ("w", write_side)):
                connect(m, getattr(side, name), flipped(getattr(channel, name)))
            connect(m, flipped(channel.r), read_side.r)
            connect(m, flipped(channel.b), write_side.b)
            for k, (read, write) in enumerate(zip(reads, writes, strict=True)):
                for asks, beats, ask, beat in zip(read.asks, read.beats, read_side.asks[k],
                                                  read_side.beats[k], strict=True):
                    connect(m, asks[c], ask)
                    connect(m, beat, beats[c])
                connect(m, write.pieces[c], write_side.pieces[k])
                connect(m, write.beats[c], write_side.beats[k])
                connect(m, write_side.answers[k], write.answers[c])
        return m
