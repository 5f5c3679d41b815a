# SPDX-License-Identifier: Apache-2.0
"""The feeder: a TENSOR's loop nest as a stream of activation vectors, implicit im2col included.

::

    loop nest ─► terms ─► sums ─► address and mask ─► needs ─► two read ports a stream ─┐
                                  of each stream        │                               ▼
                                                        └─ what goes with the vector ► join
                                              vector ◄─ zero point, padding ◄─ skid ◄─ align

A vector starts at any granule (4 bytes), so it may lie in two words, which are read through two
ports and joined. A word that the vector before has read through the same port is not read again:
neighboring pixels of a packed input share their words. Vectors that lie wholly outside the image
are not read at all. The streams of an M
split go in lockstep: the same loop indices, rows ``a_m`` and ``iy_m`` apart.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import operand
from hw.engine.ports import SpmRead, SpmReader, instruction_layout, view_of
from hw.parts.fifo import Fifo
from hw.parts.nest import circle_add
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort, lockstep
from hw.tensor.feeder_walk import ADDRESS_BITS, FeederWalk, common_layout
from isa.config import GRANULE, Config
from isa.instructions import IMAGE_BITS, Opcode


def vector_layout(config: Config) -> data.StructLayout:
    """What the feeder delivers: a vector for each stream, and how the tiles are to take it.

    ``index``: PSUM entry; ``swap``: first vector of a pass; ``overwrite``: it does not add to
    the PSUM; ``opens``: first vector of a PSUM block that needs a free bank; ``closes``: last
    vector of a block that is to be drained; ``keeps``: last vector of a block that stays open.
    """
    return data.StructLayout({
        "streams": data.ArrayLayout(operand.vector_layout(config), config.tiles),
        **({"dtype": 2} if config.floats else {}), "m_split": 2,
        "index": range(config.psum_depth), "swap": 1, "overwrite": 1, "opens": 1, "closes": 1,
        "keeps": 1})


def ports_per_stream(config: Config) -> int:
    """Read ports of a stream: two where a vector can straddle a word."""
    return 2 if config.granules > 1 else 1


class Feeder(wiring.Component):
    """Latency: LATENCY cycles from an instruction to its first vector, if the scratchpad grants
    every request; one more where read ports have queues of addresses
    (:func:`hw.scratchpad.read_port.lockstep`). Throughput: a vector of each pixel stream a cycle,
    Stall: while ``vectors`` is not
    ready the read ports' buffers fill, then the skid buffer before them, then the walk stands
    still; a lost arbitration has the same effect.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of TENSOR)
        Checked, waits satisfied.
    vectors : Out(stream of vector_layout)
    port : Out(SpmRead).array(tiles * ports_per_stream)
    busy : Out(1)
        An instruction's loop nest is under way, or vectors of it are.
    fault, fault_index : Out
        A vector's address is outside the scratchpad.
    halt : In(1)
    """

    LATENCY = ReadPort.LATENCY + 9
    META_DEPTH = 16

    instr: stream.Interface
    vectors: stream.Interface
    port: list[SpmReader]
    busy: Signal
    fault: Signal
    fault_index: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        layout = instruction_layout(Opcode.TENSOR)
        super().__init__({
            "instr": In(stream.Signature(layout)),
            "vectors": Out(stream.Signature(vector_layout(config))),
            "port": Out(SpmRead(config)).array(config.tiles * ports_per_stream(config)),
            "busy": Out(1), "fault": Out(1), "fault_index": Out(layout["index"].shape),
            "halt": In(1)})
        per = config.granules
        self._request = data.StructLayout({"addr": signed(ADDRESS_BITS), "mask": per})
        common = common_layout(config)
        turn = max(1, (per - 1).bit_length())
        self._tag = data.StructLayout({"valid": 1, "begin": 1, "bad": 1, "common": common,
                                       "index": layout["index"].shape})
        self._read = data.StructLayout({
            "word": ADDRESS_BITS - (per - 1).bit_length(), "turn": turn, "mask": per,
            "used": ports_per_stream(config), "need": ports_per_stream(config)})
        self._meta = data.StructLayout({
            "common": common,
            "need": data.ArrayLayout(2, config.tiles), "skip": data.ArrayLayout(2, config.tiles),
            "turn": data.ArrayLayout(turn, config.tiles),
            "mask": data.ArrayLayout(per, config.tiles)})
        self._joined = data.StructLayout({
            "common": common, "words": data.ArrayLayout(8 * config.lanes, config.tiles),
            "inside": data.ArrayLayout(per, config.tiles)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.walk = walk = FeederWalk(self._config)
        wiring.connect(m, wiring.flipped(self.instr), walk.instr)
        # the skid buffer's ready, the enables of the walk, two here
        m.submodules.skid = skid = Skid(data.StructLayout({
            "tag": self._tag, "reads": data.ArrayLayout(self._read, self._config.tiles)}),
            len(walk.go) + 3)
        m.d.comb += walk.go.eq(skid.go[1:-2])
        requests, tag, addressing = self._addresses(m, skid.go[-2], walk.step)
        reads, late = self._needs(m, skid.go[-1], requests, tag)
        issuing = self._issue(m, skid, reads, late)
        m.d.comb += self.busy.eq(walk.busy | addressing | issuing)
        return m

    def _addresses(self, m: Module, go: Value, out: data.View
                   ) -> tuple[list[data.View], data.View, Value]:
        """Each stream's address and mask of granules inside the image, in two cycles; what goes
        with them; and whether a vector is in either."""
        config, i = self._config, out.i
        col, ix = Signal(signed(ADDRESS_BITS)), Signal(signed(IMAGE_BITS))
        tag, tag2 = view_of(self._tag), view_of(self._tag)
        lane_dx, iw, ih = (Signal.like(i[f]) for f in ("lane_dx", "iw", "ih"))
        rows, lines, used = [], [], []
        offset, line_offset = Signal(signed(ADDRESS_BITS)), Signal(signed(IMAGE_BITS))
        with m.If(go):
            m.d.sync += [col.eq(out.t0 + out.t1), ix.eq(out.ix), tag.common.eq(out.common),
                         tag.valid.eq(out.valid), tag.begin.eq(out.begin), tag.index.eq(i.index),
                         lane_dx.eq(i.lane_dx), iw.eq(i.iw), ih.eq(i.ih), tag2.eq(tag)]
        for k in range(config.tiles):
            row = Signal(signed(ADDRESS_BITS), name=f"row{k}")
            line = Signal(signed(IMAGE_BITS), name=f"line{k}")
            with m.If(go):
                m.d.sync += [row.eq(circle_add(out.row, offset, i.a_wrap, ADDRESS_BITS)),
                             line.eq(out.iy + line_offset)]
            rows.append(row)
            lines.append(line)
            used.append(k < (1 << tag.common.m_split))
            if k + 1 < config.tiles:
                following = Signal(signed(ADDRESS_BITS), name=f"offset{k + 1}")
                line_following = Signal(signed(IMAGE_BITS), name=f"line_offset{k + 1}")
                m.d.comb += [following.eq(circle_add(offset, i.a_m, i.a_wrap, ADDRESS_BITS)
                                          if k else i.a_m),
                             line_following.eq(line_offset + i.iy_m)]
                offset, line_offset = following, line_following
        requests = []
        for k in range(config.tiles):
            request = view_of(self._request, name=f"request{k}")
            mask = Signal(config.granules, name=f"inside{k}")
            in_y = (lines[k] >= 0) & (lines[k] < ih)
            for g in range(config.granules):
                column = Signal(signed(IMAGE_BITS), name=f"column{k}_{g}")
                m.d.comb += [column.eq(ix + Mux(lane_dx[1], g >> 1, Mux(lane_dx[0], g, 0))),
                             mask[g].eq(used[k] & in_y & (column >= 0) & (column < iw))]
            addr = Signal(signed(ADDRESS_BITS), name=f"addr{k}")
            m.d.comb += addr.eq(col + rows[k])
            with m.If(go):
                m.d.sync += [request.addr.eq(addr), request.mask.eq(mask)]
            requests.append(request)
        return requests, tag2, tag.valid | tag2.valid

    def _needs(self, m: Module, go: Value, requests: list[data.View], tag: data.View
               ) -> tuple[list[data.View], data.View]:
        """What each stream reads, a cycle later: no word that it has read for the vector before."""
        config, per = self._config, self._config.granules
        bits = (per - 1).bit_length()
        limit = (config.spm_words - 1) * per
        late, outside, reads = view_of(self._tag), [], []
        for k, request in enumerate(requests):
            read = view_of(self._read, name=f"read{k}")
            inside, turn = request.mask.any(), request.addr[:bits]
            outside.append(inside & ((request.addr < 0) | (request.addr > limit)))
            used = Cat(inside, inside & (turn != 0)) if bits else inside
            same = late.valid & ~tag.begin & (request.addr[bits:] == read.word)
            with m.If(go):
                m.d.sync += [read.word.eq(request.addr[bits:]), read.turn.eq(turn),
                             read.mask.eq(request.mask), read.used.eq(used),
                             read.need.eq(used & ~Mux(same, read.used, 0))]
            reads.append(read)
        with m.If(go):
            m.d.sync += [late.eq(tag), late.bad.eq(tag.valid & Cat(*outside).any())]
        return reads, late

    def _issue(self, m: Module, skid: Skid, reads: list[data.View], tag: data.View) -> Value:
        """Fork each set of reads to the ports; join the words to vectors. Returns whether any is
        under way."""
        config = self._config
        m.submodules.meta = queue = Fifo(self._meta, self.META_DEPTH)
        into, head = skid.i.payload, skid.o.payload
        m.d.comb += [into.tag.eq(tag), skid.i.valid.eq(tag.valid & ~tag.bad),
                     *(into.reads[k].eq(read) for k, read in enumerate(reads))]
        with m.If(tag.valid & tag.bad & ~self.halt & ~self.fault):
            m.d.sync += [self.fault.eq(1), self.fault_index.eq(tag.index)]
        reads, tag = [head.reads[k] for k in range(config.tiles)], head.tag
        meta = queue.i.payload
        may, take, queued = skid.o.valid, Signal(), Signal()
        m.d.comb += meta.common.eq(tag.common)
        readers, finished = [], []
        for k, read in enumerate(reads):
            # the words' choice and their arrival ask flip-flops of their own
            m.d.comb += [*(meta[f][k].eq(read[f]) for f in ("need", "turn", "mask")),
                         meta.skip[k].eq(~read.need)]
            for half in range(ports_per_stream(config)):
                reader = ReadPort(config, lockstep(config))
                done = Signal(name=f"done{k}_{half}")
                m.submodules[f"reader{k}_{half}"] = reader
                number = k * ports_per_stream(config) + half
                wiring.connect(m, reader.port, wiring.flipped(self.port[number]))
                want, taken = read.need[half], reader.addr.ready
                m.d.comb += [reader.addr.payload.eq(read.word + half),
                             reader.addr.valid.eq(may & want & ~done)]
                finished.append(done | ~want | taken)
                m.d.sync += done.eq(may & want & (done | taken) & ~take)
                readers.append(reader)
        m.d.comb += [queue.i.valid.eq(may & ~queued),
                     take.eq(may & (queued | queue.i.ready) & Cat(*finished).all()),
                     skid.o.ready.eq(take)]
        m.d.sync += queued.eq(may & (queued | queue.i.ready) & ~take)
        held = self._join(m, queue, readers)
        return skid.i.valid | skid.o.valid | queue.o.valid | held | self.vectors.valid

    def _join(self, m: Module, queue: Fifo, readers: list[ReadPort]) -> Signal:
        """A vector's words and what goes with it; returns whether there is any before the register
        in which they meet. That all of its words have come is known in a flip-flop, from the cycle
        before."""
        config = self._config
        ports = ports_per_stream(config)
        m.submodules.joined = joined = Skid(self._joined)
        head, following, have = view_of(self._meta, reset_less=True), queue.o.payload, Signal()
        here: list[Value] = []      # what the vector needs, the one behind it, one behind none
        coming: list[Value] = []
        first: list[Value] = []
        into, present, take, fire = joined.i.payload, Signal(), Signal(), Signal()
        for k in range(config.tiles):
            mine = readers[k * ports:(k + 1) * ports]
            now = []
            for half, reader in enumerate(mine):
                need, held = head.need[k][half], Signal.like(reader.data.payload, reset_less=True)
                skip = head.skip[k][half]
                here.append(skip | reader.data.valid)
                first.append(following.skip[k][half] | reader.data.valid)
                coming.append(following.skip[k][half]
                              | Mux(skip, reader.data.valid, reader.more))
                m.d.comb += reader.data.ready.eq(fire & ~skip)
                with m.If(reader.data.ready):
                    m.d.sync += held.eq(reader.data.payload)
                now.append(Mux(need, reader.data.payload, held))
            words = Cat(*now)
            inside = Cat(bit.replicate(8 * GRANULE) for bit in head.mask[k])
            m.d.comb += [into.inside[k].eq(head.mask[k]), into.words[k].eq(
                (words >> head.turn[k] * (8 * GRANULE) if ports > 1 else words) & inside)]
        m.d.comb += [
            into.common.eq(head.common), joined.i.valid.eq(present),
            fire.eq(present & joined.i.ready), take.eq(fire | ~have), queue.o.ready.eq(take),
            self.vectors.valid.eq(joined.o.valid), joined.o.ready.eq(self.vectors.ready)]
        m.d.sync += present.eq(Mux(fire, queue.o.valid & Cat(*coming).all(), Mux(
            have, Cat(*here).all(), queue.o.valid & Cat(*first).all())))
        with m.If(take):
            m.d.sync += [have.eq(queue.o.valid), head.eq(following)]
        self._vectors(m, joined.o.payload)
        return have

    def _vectors(self, m: Module, joined: data.View) -> None:
        """Words to operands of the tiles."""
        config, c, out = self._config, joined.common, self.vectors.payload
        for k in range(config.tiles):
            word, integers = joined.words[k], []
            for lane in range(config.lanes):
                value = Signal(signed(operand.OPERAND_BITS), name=f"value{k}_{lane}")
                m.d.comb += value.eq(Mux(
                    joined.inside[k][lane // GRANULE],
                    operand.integer(word[8 * lane:8 * lane + 8], c.a_signed, c.a_zp), c.pad))
                integers.append(value)
            operand.assign(m, f"stream{k}", out.streams[k], word, [*integers],
                           operand.field(c, "dtype"), operand.field(c, "base"))
        m.d.comb += [out[f].eq(c[f]) for f, _ in vector_layout(config) if f != "streams"]
