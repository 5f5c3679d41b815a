# SPDX-License-Identifier: Apache-2.0
"""The schedule: operators one after another, tensors in the scratchpad where they fit.

:class:`Schedule` keeps what is where while the operators emit their instructions. A tensor that is
resident lies whole in the scratchpad from its producer to its last consumer; otherwise it is in
DRAM, and boxes of it come and go. An operator that finds too little room evicts residents to the
WORKSPACE region.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from compiler.emit.dram import Dram
from compiler.emit.join import joined
from compiler.emit.sharing import Grid, Sharing, portions
from compiler.ir.errors import CompileError
from compiler.ir.graph import Graph, Op, Pool, Rows, Tensor
from compiler.machine.constants import Stream, aligned
from compiler.machine.place import Box, Home, Layout, View, covered, transfers
from compiler.machine.slabs import Slabs
from compiler.machine.spm import Scratchpad
from compiler.machine.steps import SPM, Extent, Step
from compiler.machine.timing import timed
from isa.config import Config
from isa.instructions import Opcode, Region

LOAD_WORDS = 256
"""Words of a LOAD that is one of several for a tensor."""

RUN_PIXELS = 8
"""Tokens, of which there may be one in a row, that such a LOAD has at least."""

RESIDENT_SHARE = 0.75
"""Largest share of the scratchpad for tensors that stay: tiles and weights need the rest."""


def moved(opcode: Opcode, fields: dict[str, int], size: int) -> tuple[list[Extent], list[Extent]]:
    """What a transfer reads and writes; ``size``: bytes of a word."""
    run, at, dram = fields["n0"], fields["spm"], fields["dram"]
    near = [(fields[f"n{i}"], fields[f"spm_stride{i}"]) for i in (1, 2, 3)]
    far = [(fields[f"n{i}"], fields[f"dram_stride{i}"] // size) for i in (1, 2, 3)]
    inside = [(SPM, at + a, at + b) for a, b in covered(run, near)]
    outside = [(fields["region"], dram + a * size, dram + b * size) for a, b in covered(run, far)]
    return (outside, inside) if opcode == Opcode.LOAD else (inside, outside)


class Schedule:
    """State of one attempt of the back end; ``steps`` is its result.

    Parameters
    ----------
    graph : Graph
    config : Config
    packed : set of Tensor
        The input tensors that lie packed.
    grain : int
        Cycles that an instruction is to take: layers are cut into bands of rows of that size.
    spread : bool
        Tensors that stay get words that were free for long, so that fewer instructions wait for a
        place; otherwise the lowest, so that larger holes remain.
    channels : int
        Pixels up to which a map is cut by channels instead of rows.
    exposed : float
        Part of a layer's first weights that are expected not to be loaded ahead: little makes few
        large chunks of weights, much a quick start.
    joins : bool
        Operands of a concatenation are written into its result where they can be
        (:mod:`compiler.emit.join`). That takes the room of the result as soon as there is the first
        of them.
    share : float
        Of the scratchpad, for tensors that stay.
    price : float
        Cycles that a byte of DRAM traffic is worth beside those that it takes. With one, results
        are made in the place of operands that nobody reads again.
    ranks : int
        Cores that share the instructions which compute: what is emitted is of ``rank``.
    maps : int
        Pixels up to which a map is shared among them by channels instead of rows.
    planned : dict of Grid
        How they share operators, by their results, where that is not by the size of the map.
    slabs : bool
        Tensors that the ranks share by rows are slabs (:mod:`compiler.machine.slabs`).
    """

    def __init__(self, graph: Graph, config: Config, packed: set[Tensor], grain: int,
                 spread: bool, channels: int, exposed: float, joins: bool,
                 share: float, price: float, ranks: int = 1, maps: int = 0,
                 planned: Mapping[Tensor, Grid] | None = None, slabs: bool = False):
        self.ranks, self.rank = ranks, 0
        self.sharing = Sharing(graph, config.lanes, ranks, maps, planned or {}, slabs)
        self.slabs = Slabs(config.spm_words)
        self.graph, self.config, self.price = graph, config, price
        self.grain, self.spread, self.channels, self.exposed = grain, spread, channels, exposed
        self.share = share
        self.lanes = config.lanes
        self.spm = Scratchpad(config.spm_words)
        self.steps: list[Step] = []
        self.streams: dict[tuple, Stream] = {}
        self._bases: dict[Stream, int] = {}
        self._constants = 0     # bytes of those that were emitted
        self.dram = Dram(graph, config.lanes, packed, joined(graph, config) if joins else {})
        self.views: dict[Tensor, View] = {}
        self.uses = Counter(x for op in graph.ops for x in op.inputs)
        self.node = 0
        self.tokens = any(isinstance(op, Rows) for op in graph.ops)
        self.by_blocks: set[Tensor] = set()  # those in DRAM that come channel block by block
        self.twins: dict[Tensor, Tensor] = {}  # of two tensors in one place the other one
        self.partial: dict[Tensor, int] = {}  # how many parts of it are written, at least in part
        self.states = set(graph.states)     # in DRAM, where they are kept
        self.kept = {p.tensor for p in graph.outputs}

    # -- instructions ---------------------------------------------------------------------------

    def emit(self, opcode: Opcode, fields: dict[str, int], reads: list, writes: list,
             stream: Stream | None = None, box: Sequence[Extent] = ()) -> None:
        """Append an instruction; ``box``: the words of the box that a LOAD is of."""
        if opcode == Opcode.TENSOR and not fields["m_split"]:
            # nothing to step to, and the instruction is shorter
            fields = {k: v for k, v in fields.items() if k not in ("a_m", "iy_m", "o_m")}
        cycles, tail, blocks = timed(self.config, opcode, fields)
        self.steps.append(Step(opcode, fields, self.node, cycles, tail, reads, writes, blocks,
                               stream, self._base(stream), rank=self.rank, box=box))

    def _base(self, stream: Stream | None) -> int:
        """Where a stream begins among the constants, if no two of them are equal."""
        if stream is None:
            return 0
        if stream not in self._bases:
            self._bases[stream] = self._constants
            self._constants += aligned(stream.words * self.lanes)
        return self._bases[stream]

    # -- ranks ----------------------------------------------------------------------------------

    def shared(self, op: Op, area: Box, pieces: Callable[[Box], Iterable[Box]]) -> Iterator[Box]:
        """The pieces of each rank's part of a box; what is emitted meanwhile is that rank's."""
        grid, before = self.sharing.grid(op, area.y1 - area.y0), self.rank
        for row, y0, y1 in self.sharing.rows(op, grid, area.y0, area.y1):
            mine = replace(area, y0=y0, y1=y1)
            low, high = ("y0", "y1") if isinstance(op, Rows) else ("b0", "b1")
            for channel, a, b in portions(
                    grid.channels, getattr(mine, low), getattr(mine, high)):
                self.rank = grid.rank(row, channel)
                yield from pieces(replace(mine, **{low: a, high: b}))
        self.rank = before

    def by_channel(self, t: Tensor) -> bool:
        """Whether a tensor is made channel block by channel block, not row by row: a depthwise
        convolution behind it can start on the first block, and its weights are loaded once."""
        return t.nchw[2] * t.nchw[3] <= self.channels

    def is_made(self, t: Tensor) -> bool:
        """Whether an operator makes a tensor."""
        return any(op.y is t for op in self.graph.ops)

    def follows_blocks(self, op: Op) -> bool:
        """Whether an operator on each element best goes channel block by channel block, since
        something that it reads comes so from DRAM; then so does its result."""
        found = any(x in self.by_blocks for x in op.inputs)
        if found and self.resident(op.y) is None:
            self.by_blocks.add(op.y)
        return found

    def pieces(self, cycles: int, rows: int, most: int | None = None) -> int:
        """Bands for a box of ``rows`` rows that takes a number of cycles, each of about the grain,
        or of ``most`` if that is less."""
        return min(rows, max(1, round(cycles / min(self.grain, most or self.grain))))

    def dma(self, opcode: Opcode, region: int, offset: int, spm: int,
            dims: list[tuple[int, int, int]], stream: Stream | None = None,
            box: Sequence[Extent] = ()) -> None:
        """A transfer with loops as :func:`compiler.machine.place.transfers` takes them; ``offset``
        in bytes; ``box``: the words of the box that a LOAD is of."""
        size = self.lanes
        for d, s, loops in transfers(dims):
            dram, at = offset + d * size, spm + s
            fields = {"region": int(region), "dram": dram, "spm": at, "n0": loops[0][0]}
            if opcode == Opcode.LOAD and region == Region.PROGRAM:  # the same for every core
                fields["group"] = 1
            for i in (1, 2, 3):
                count, step_d, step_s = loops[i]
                fields[f"n{i}"] = count
                fields[f"dram_stride{i}"], fields[f"spm_stride{i}"] = step_d * size, step_s
            self.emit(opcode, fields, *moved(opcode, fields, size), stream, box)

    def load_weights(self, stream: Stream, at: int) -> list[tuple[int, int, int]]:
        """LOAD a weight stream to the scratchpad; returns its extent there."""
        self.dma(Opcode.LOAD, Region.PROGRAM, 0, at, [(stream.words, 1, 1)], stream)
        return [(SPM, at, at + stream.words)]

    def _box_dims(self, t: Tensor, home: Home, box: Box, view: View) -> tuple[int, list]:
        y = self.dram.layout(t)
        column, row, block, image = home.pitches or (1, y.row, y.block, y.image)
        start = box.n0 * image + box.b0 * block + box.y0 * row + box.x0 * column
        return start, [(1, 1, 1), (box.x1 - box.x0, column, 1), (box.y1 - box.y0, row, view.row),
                       (box.b1 - box.b0, block, view.block),
                       (box.n1 - box.n0, image, view.image)]

    def load_box(self, t: Tensor, view: View, box: Box | None = None) -> None:
        """LOAD the view's box, or a part of it, from the tensor's home."""
        home = self.dram.home(t)
        assert home is not None
        self._transfer(Opcode.LOAD, t, home, view, box or view.box)

    def store_box(self, t: Tensor, view: View, box: Box | None = None) -> None:
        """STORE the view's box, or a part of it, to the tensor's home."""
        self._transfer(Opcode.STORE, t, self.dram.made_home(t), view, box or view.box)

    def _transfer(self, opcode: Opcode, t: Tensor, home: Home, view: View, box: Box) -> None:
        for y0, y1 in view.runs(box.y0, box.y1):
            start, dims = self._box_dims(t, home, replace(box, y0=y0, y1=y1), view)
            self.dma(opcode, home.region, home.offset + start * self.lanes,
                     view.at(box.n0, box.b0, y0, box.x0), dims, home.stream,
                     view.extents(box) if opcode is Opcode.LOAD and view.exact else ())

    # -- residents ------------------------------------------------------------------------------

    def pitches(self, t: Tensor) -> tuple[int, int, int]:
        """Words from a row, a channel block and an image of a tensor that stays to the next.

        The pixel streams of an M split walk rows in lockstep, and tiles write channel blocks so.
        With odd pitches they are in different banks whether they are one or two rows apart; a
        packed row is read two words at a time, so there it is twice an odd number. The channel
        blocks of a row of a slab follow one another.
        """
        y = self.dram.layout(t)
        if self.sharing.part(t):
            return self._slab_pitches(y, t.nchw[2])
        row, lines, blocks = y.row, y.block // y.row, y.image // y.block
        if self.config.tiles > 1 and lines > 1:
            row = row + (2 - row) % 4 if y.packed else row | 1
        block = row * lines
        if self.config.tiles > 1 and blocks > 1:
            block |= 1
        return row, block, block * blocks

    def _slab_pitches(self, y: Layout, lines: int) -> tuple[int, int, int]:
        """Of rows of several blocks those in lockstep are in banks as far apart as can be: next to
        one another they would run into the weights one after the other."""
        several, banks = self.config.tiles > 1, self.config.spm_banks
        block = y.row | 1 if several and y.blocks > 1 else y.row
        row = y.blocks * block
        if several and y.packed:
            row = row + (2 - row) % 4
        elif several:
            row += (banks // self.config.tiles + 1 - row) % banks
        return row, block, row * lines

    def words(self, t: Tensor) -> int:
        """Scratchpad words of the whole tensor, or of the largest part of a slab; a packed one has
        a guard word at each end, since the feeder reads granules next to those that it needs."""
        row, _, image = self.pitches(t)
        part = self.sharing.part(t)
        return (part[1] * row if part else t.nchw[0] * image) + 2 * (t in self.dram.packed)

    def settle(self, t: Tensor) -> View | None:
        """Allocate the whole tensor, if a quarter of the scratchpad stays free; for a part, the
        tensor that it is a part of, unless that was placed when its first part was."""
        whole, _ = self.dram.part_of(t)
        if whole is not None:
            self.begin(whole)
            return self.resident(t)
        if t in self.states:
            return None
        words = self.words(t)
        spare = self.spm.words - self.spm.available + self.spm.rounded(words)
        if spare > self.share * self.spm.words:
            return None
        at = (self.spm.rotating(words, oldest=self.ranks > 1 and self.tokens) if self.spread
              else self.spm.lowest(words))
        if at is None:
            return None
        y, pitches, part = self.dram.layout(t), self.pitches(t), self.sharing.part(t)
        base, skips = at + y.packed, tuple[int, ...]()
        if part:
            base, skips = self.slabs.name(base, pitches[2], part[1] * pitches[0],
                                          [y0 * pitches[0] for y0 in part[0]])
        view = View(base, *pitches, y.whole(t), exact=self.ranks > 1, skips=skips)
        self.views[t] = view
        return view

    def take_over(self, x: Tensor, y: Tensor, early: bool = False) -> bool:
        """Give ``y`` the place of ``x``, which has the same shape and type, if nothing else is
        going to read that; the operator under way reads each word before it writes it. ``early``:
        ``x`` is still being written, and has that place as well until then."""
        if (x not in self.views or self.uses[x] > 1 or x in self.kept or x in self.dram.homes
                or x in self.partial or self.dram.part_of(y)[0] is not None
                or self.sharing.part(x) != self.sharing.part(y)):
            return False
        self.views[y] = self.views[x] if early else self.views.pop(x)
        return True

    def inherit(self, x: Tensor, y: Tensor, uses: int = 1) -> bool:
        """Give ``y`` the place of ``x`` as well, which the operators under way, ``uses`` readers,
        are the last to read, each word before they write it; so only where DRAM has a price."""
        if (not self.price or x not in self.views or x in self.twins or self.uses[x] > uses
                or x in self.kept or x in self.states or x in self.partial or y in self.views
                or x in self.dram.packed or (x.nchw, x.size) != (y.nchw, y.size)
                or self.dram.part_of(x)[0] is not None or self.dram.part_of(y)[0] is not None
                or self.sharing.part(x) != self.sharing.part(y)):
            return False
        self.views[y] = self.views[x]
        self.twins[x], self.twins[y] = y, x
        return True

    def spent(self, x: Tensor) -> bool:
        """Whether nothing but the operator under way is going to read a tensor."""
        return self.uses[x] == 1 and x not in self.kept and self.dram.part_of(x)[0] is None

    def begin(self, t: Tensor) -> None:
        """Place a tensor that is written part by part, once."""
        if t not in self.partial:
            self.partial[t] = 0
            self.settle(t)

    def resident(self, t: Tensor) -> View | None:
        """The tensor's place in the scratchpad, if it has one."""
        whole, first = self.dram.part_of(t)
        if whole is None:
            return self.views.get(t)
        view = self.views.get(whole)
        if view is None:
            return None
        y = self.dram.layout(t)
        return replace(view, base=view.base + first * view.block, box=y.whole(t))

    def bring(self, t: Tensor) -> None:
        """Make a tensor from DRAM resident if it fits; in bands of rows, so that its reader need
        not wait for all of it."""
        if self.dram.part_of(t)[0] is not None or t in self.views:
            return
        if (view := self.settle(t)) is not None:
            box = view.box
            row = view.row if view.skips else (box.b1 - box.b0) * view.row
            step = max(1, LOAD_WORDS // row, RUN_PIXELS // (box.x1 - box.x0) if self.tokens else 1)
            for n in range(box.n0, box.n1):
                for y in range(box.y0, box.y1, step):
                    self.load_box(t, view, replace(box, n0=n, n1=n + 1, y0=y,
                                                   y1=min(y + step, box.y1)))

    def drop(self, t: Tensor) -> None:
        """Give a resident's words back, unless another one has them as well."""
        view = self.views.pop(t)
        if t in self.twins:
            del self.twins[self.twins.pop(t)]
            return
        self.spm.release(self.slabs.at(view.base) - (1 if t in self.dram.packed else 0))

    def in_dram(self, t: Tensor) -> None:
        """See that a tensor is in DRAM, whether or not it stays."""
        if t in self.views and t not in self.dram.homes:
            self.store_box(t, self.views[t])

    def evict(self, t: Tensor) -> None:
        """Move a resident to DRAM, where it may be already."""
        if self.partial.get(t, t not in self.dram.homes):
            self.store_box(t, self.views[t])
        self.drop(t)

    def give_up(self, t: Tensor) -> None:
        """The output of the operator under way will not be resident: nothing of it is written,
        unless it is a part of a tensor."""
        whole, _ = self.dram.part_of(t)
        if whole is not None:
            self.evict(whole)
        else:
            self.drop(t)

    def made(self, t: Tensor) -> None:
        """A tensor is complete: an output that is resident goes to its region now."""
        whole, _ = self.dram.part_of(t)
        if whole is not None:
            self.partial[whole] += 1
        view = self.views.get(t)
        if view is not None and t in self.kept:
            for a, b in self.output_parts(t):
                self.store_box(t, view, replace(view.box, b0=a, b1=b))
        if view is not None and not self.uses[t]:
            self.drop(t)

    def output_parts(self, t: Tensor) -> list[tuple[int, int]]:
        """Channel blocks of an output that stays that are stored one after the other: those of a
        gang, whose ranks all store at the end, in halves."""
        blocks = t.blocks(self.lanes)
        halves = self.ranks > 1 and t in self.kept and self.resident(t) is not None
        return [(a, b) for _, a, b in portions(1 + halves, 0, blocks)]

    def used(self, t: Tensor) -> None:
        """One consumer is through with a tensor."""
        self.uses[t] -= 1
        if not self.uses[t] and t in self.views:
            self.drop(t)

    def feeds_global_pool(self, t: Tensor) -> bool:
        """Whether the only reader takes each channel's whole map at once."""
        readers = [op for op in self.graph.ops if any(x is t for x in op.inputs)]
        return (len(readers) == 1 and isinstance(readers[0], Pool)
                and readers[0].y.nchw[2:] == (1, 1) and t.nchw[2] * t.nchw[3] > 1)

    def evictable(self, keep: list[Tensor]) -> Tensor | None:
        """A resident that an operator can do without, largest first."""
        return max((t for t in self.views if t not in keep), key=self.words, default=None)

    def make_room(self, node: int, y: Tensor, inputs: list[Tensor]) -> None:
        """Free words for an operator that finds too few: its output will not stay, or else
        another tensor, or else one that it reads.

        Raises
        ------
        CompileError
            If nothing is left to free.
        """
        if self.resident(y):
            self.give_up(y)
        elif (other := self.evictable(inputs) or self.evictable([])) is not None:
            self.evict(other)
        else:
            raise self.too_small(node)

    def too_small(self, node: int) -> CompileError:
        """What to raise when not even the smallest tile fits."""
        return CompileError(self.graph.where(node),
                            f"its smallest tile does not fit in a scratchpad of "
                            f"{self.config.spm_bytes} bytes",
                            "compile for a configuration with a larger scratchpad")
