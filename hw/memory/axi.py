# SPDX-License-Identifier: Apache-2.0
"""AXI4 and AXI4-Lite as streams, and the splitter that makes legal bursts of long runs.

Each channel is a stream of a structure; :mod:`hw.top` gives it the standard signal names. Fields
that never change on this machine (full-width INCR bursts, normal bufferable memory, unprivileged)
are constants there and not carried around inside.
"""

import enum
from typing import Protocol

from amaranth.hdl import Elaboratable, Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from hw.engine.ports import view_of
from hw.parts.skid import Skid
from isa.config import Config
from isa.registers import REGISTER_SPACE_BITS

LEN_BITS = 8
RUN_BITS = 18
"""Width of a run's length in beats: 65535 words of two beats each fit."""

BOUNDARY_BYTES = 4096
"""A burst stays within an aligned block of this size."""


USER_BITS = 1
"""Of a core's AR: whether the cores of its gang read the burst together with it."""

ID_BITS = 1
LOAD_ID = STORE_ID = 0
FETCH_ID = 1
"""IDs of the users of the bus; reads and writes have nothing to do with one another."""


class Resp(enum.IntEnum):
    """Responses but OKAY. EXOKAY answers what is never asked here; to a LOAD with ``group`` it says
    that the cores of its gang differ (:mod:`hw.chip.meeting`)."""

    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def address_layout(config: Config, id_bits: int = ID_BITS) -> data.StructLayout:
    """AW, or AR of a memory: ``addr`` in bytes, ``len`` beats minus one."""
    return data.StructLayout({"id": id_bits, "addr": config.addr_bits, "len": LEN_BITS})


def asked_layout(config: Config) -> data.StructLayout:
    """AR of a core: with ``user`` of :data:`USER_BITS`."""
    return data.StructLayout({**address_layout(config).members, "user": USER_BITS})


def write_layout(config: Config) -> data.StructLayout:
    """W."""
    return data.StructLayout({"data": 8 * config.bus_bytes, "strb": config.bus_bytes, "last": 1})


def read_layout(config: Config, id_bits: int = ID_BITS) -> data.StructLayout:
    """R."""
    return data.StructLayout({"id": id_bits, "data": 8 * config.bus_bytes, "resp": 2, "last": 1})


def response_layout(id_bits: int = ID_BITS) -> data.StructLayout:
    """B."""
    return data.StructLayout({"id": id_bits, "resp": 2})


RESPONSE = response_layout()
"""B of a core."""


class AXI4(wiring.Signature):
    """An AXI4 master of ``config.bus_bytes`` data bytes and ``config.addr_bits`` address bits: a
    core, with IDs of :data:`ID_BITS`; or, with ``id_bits``, what stands in front of a memory."""

    def __init__(self, config: Config, id_bits: int | None = None):
        asked = asked_layout(config) if id_bits is None else address_layout(config, id_bits)
        id_bits = ID_BITS if id_bits is None else id_bits
        address = stream.Signature(address_layout(config, id_bits))
        super().__init__({
            "aw": Out(address), "w": Out(stream.Signature(write_layout(config))),
            "b": In(stream.Signature(response_layout(id_bits))),
            "ar": Out(stream.Signature(asked)),
            "r": In(stream.Signature(read_layout(config, id_bits)))})


class AXI4Lite(wiring.Signature):
    """An AXI4-Lite master of 32 data bits, as the host is, for a core's registers unless it has
    more address bits."""

    def __init__(self, address_bits: int = REGISTER_SPACE_BITS) -> None:
        address = stream.Signature(address_bits)
        super().__init__({
            "aw": Out(address),
            "w": Out(stream.Signature(data.StructLayout({"data": 32, "strb": 4}))),
            "b": In(stream.Signature(2)),
            "ar": Out(address),
            "r": In(stream.Signature(data.StructLayout({"data": 32, "resp": 2})))})


class AXIPort(Protocol):
    """Type of a component's member with the signature :class:`AXI4` or :class:`AXI4Lite`."""

    signature: wiring.Signature
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface
    ar: stream.Interface
    r: stream.Interface


def run_layout(config: Config, tag: ShapeLike) -> data.StructLayout:
    """A contiguous run: first beat (byte address divided by the bus width), beats (1 or more), and
    whatever the user wants to know when the data comes."""
    beat_bits = config.addr_bits - exact_log2(config.bus_bytes)
    return data.StructLayout({"beat": beat_bits, "beats": RUN_BITS, "tag": tag})


def burst_layout(config: Config, tag: ShapeLike) -> data.StructLayout:
    """A burst of a run: ``len`` beats minus one; ``first`` and ``last`` in its run."""
    beat_bits = config.addr_bits - exact_log2(config.bus_bytes)
    return data.StructLayout({"beat": beat_bits, "len": LEN_BITS, "first": 1, "last": 1,
                              "tag": tag})


class BurstSplitter(wiring.Component):
    """Cuts runs into bursts of at most ``config.max_burst`` beats that do not cross 4 KiB.

    Cuts are made at multiples of the burst limit (or of 4 KiB, if that is less), so that one
    subtraction gives the length, and all bursts of a long run but the first are aligned. Throughput
    one burst a cycle, latency two cycles. Whether the next run is taken depends on comparisons of
    the one at hand.

    Parameters
    ----------
    config : Config
    tag : ShapeLike
        Passes through, the same for each burst of a run.

    Attributes
    ----------
    window : int
        Cuts are at multiples of this many beats.

    Members
    -------
    i : stream of ``run_layout(config, tag)``
    o : stream of ``burst_layout(config, tag)``
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: Config, tag: ShapeLike):
        self.window = min(config.max_burst, BOUNDARY_BYTES // config.bus_bytes)
        self._run = run_layout(config, tag)
        super().__init__({"i": In(stream.Signature(self._run)),
                          "o": Out(stream.Signature(burst_layout(config, tag)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.cut = cut = Skid(self.o.payload.shape())
        connect(m, cut.o, flipped(self.o))
        run = view_of(self._run)
        valid, first = Signal(), Signal()
        within = exact_log2(self.window)
        room = Signal(range(self.window + 1))
        beats = Signal(range(self.window + 1))
        burst = cut.i.payload
        m.d.comb += [
            burst.last.eq(run.beats <= room),
            beats.eq(Mux(burst.last, run.beats, room)),
            burst.beat.eq(run.beat), burst.len.eq(beats - 1),
            burst.first.eq(first), burst.tag.eq(run.tag),
            cut.i.valid.eq(valid),
            self.i.ready.eq(~valid | (cut.i.ready & burst.last)),
        ]
        with m.If(valid & cut.i.ready):
            m.d.sync += [run.beat.eq(run.beat + beats), run.beats.eq(run.beats - beats),
                         first.eq(0), room.eq(self.window)]
            with m.If(burst.last):
                m.d.sync += valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [run.eq(self.i.payload), valid.eq(1), first.eq(1),
                         room.eq(self.window - self.i.payload.beat[:within])]
        return m
