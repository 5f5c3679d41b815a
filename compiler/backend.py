# SPDX-License-Identifier: Apache-2.0
"""The back end: a graph becomes a program, the best of several attempts.

====================  =============================================================================
schedule, emit        layout, tiling, allocation: instructions in a legal sequential order
order                 the order in which a model of the machine would start them
hazards               waits
timing                predicted cycles
====================  =============================================================================

They are tried with bands of several sizes; the program with the fewest predicted cycles is taken,
of cycles and DRAM bytes the cheapest where these have a price.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.emit.add import emit_add
from compiler.emit.cache import emit_place
from compiler.emit.concat import emit_concat
from compiler.emit.conv import elementwise, emit_conv
from compiler.emit.depth import depth_first
from compiler.emit.join import joined
from compiler.emit.move import emit_move
from compiler.emit.pool import emit_depthwise, emit_pool
from compiler.emit.rows import copy_of, emit_rows
from compiler.emit.schedule import RESIDENT_SHARE, Schedule
from compiler.emit.sharing import Grid
from compiler.emit.strips import emit_chain
from compiler.emit.window import windowed
from compiler.ir.errors import CompileError
from compiler.ir.graph import (Add, Concat, Conv, Graph, Move, Op, Place, Pool, Port, Product,
                               Rows, Tensor)
from compiler.lower import hosts
from compiler.lower.legalize import Legal
from compiler.machine.constants import Constants, aligned
from compiler.machine.place import Layout
from compiler.machine.shared import gang, gang_cycles
from compiler.machine.steps import Step
from compiler.machine.timing import predict
from compiler.order.dependencies import dependencies
from compiler.order.hazards import waits
from compiler.order.order import best_order
from compiler.source.frontend import Source
from compiler.split.signals import streams
from compiler.split.spread import spread
from compiler.split.ways import Ways
from isa.config import GRANULE, Config
from isa.instructions import UNIT_BYTES, Instruction, Opcode, Region, whole_blocks
from isa.layout import Buffer
from isa.program import Patch, Program, Stream

GRAINS = (60, 150, 300, 600, 1200, 2400, 10**9)
"""Cycles of an instruction that are tried."""

PIECES = 400
"""Instructions of the array that a program may have for the first grain; smaller ones than half of
it are not tried."""

GANG_PIECES = 2
"""By how much more instructions the array of a gang's core may have for each core: others go on
with what one has made."""

MAPS = (64, 256)
"""Pixels of the largest map that is cut by channels that are tried."""

SHARED_MAPS = (3200, 800, 200, 0)
"""Pixels of the largest map that ranks share by channels that are tried."""

CHAINS, GANG_CHAINS = (12, 5, 0), (7,)
"""Operators of a chain that are tried, and those that are tried beside in a gang."""

EXPOSED = (1.0, 0.25)
"""Parts of a layer's first weights that are loaded only when the layer before is through, as the
choice of chunks counts with."""

LESS = 0.5
"""Another share of the scratchpad for tensors that stay, that is tried where there are tokens."""

SHARES, BETWEEN = (0.85, 0.95), (8, 3)
"""Further such shares, and further lengths of chains, that are tried where DRAM has a price."""

ENGINE_OF = {Opcode.TENSOR: "array", Opcode.WINDOW: "window", Opcode.VECTOR: "vector"}
"""What the report calls the engine of an opcode."""

CHANNEL_BYTES = 8
"""Bias and scale of an output channel, as :attr:`Program.compulsory_bytes` counts them."""


@dataclass(frozen=True)
class Work:
    """What a network asks for, whatever the machine: each node's multiply-accumulates; the same in
    multipliers of INT8, of which a 16-bit type takes two; and the bytes of its weights with a bias
    and a scale for each output channel, of other constants, and of caches."""

    macs: Counter[int]
    slots: int
    kept_bytes: int

    @classmethod
    def of(cls, graph: Graph) -> "Work":
        convs = [op for op in graph.ops if isinstance(op, Conv) and op.counted]
        products: list[Conv | Product] = [op for op in graph.ops if isinstance(op, Product)]
        macs: Counter[int] = Counter()
        for op in convs + products:
            macs[op.node] += op.macs
        return cls(macs, sum(op.macs * op.x.size for op in convs + products),
                   sum(op.weight.size * op.x.size + CHANNEL_BYTES * len(op.bias)
                       for op in convs)
                   + sum(values.nbytes for values in graph.constants.values())
                   + sum(int(np.prod(t.nchw)) * t.size for t in graph.states))

    def narrowed(self, graph: Graph) -> "Work":
        """The same with INT8 weights where a graph has them of floats."""
        saved = sum(op.weight.size for op in graph.ops if isinstance(op, Conv) and op.narrow)
        return replace(self, kept_bytes=self.kept_bytes - saved)


def _key(steps: list[Step]) -> int:
    """Differs for other instructions than these; the constants are no part of it."""
    return hash(tuple((step.opcode, *step.fields.values(), *step.reads, *step.writes)
                      for step in steps))


class Backend:
    """Instructions and tables of one program.

    ``dram_price``: of a byte between DRAM and the machine, in the time that the bus takes for it.
    ``ranks``: cores that share the work.
    """

    def __init__(self, source: Source, legal: Legal, graph: Graph, config: Config,
                 work: Work, precision: str, dram_price: float, ranks: int = 1):
        self.ranks = ranks
        self.precision, self.price = precision, dram_price / config.bus_bytes   # cycles a byte
        self.source, self.legal, self.graph, self.config = source, legal, graph, config
        self.work = work
        self.packed = {p.tensor for p in graph.inputs if self._packs(p)}

    def _packs(self, port: Port) -> bool:
        """An input with few channels that only convolutions read, a kernel row at a time."""
        readers = [op for op in self.graph.ops if any(x is port.tensor for x in op.inputs)]
        pixel = GRANULE * port.tensor.size
        return (port.tensor.nchw[1] <= GRANULE and pixel < self.config.lanes and bool(readers)
                and all(
            isinstance(op, Conv) and op.x is port.tensor and op.groups == 1 and not op.matrix
            and op.dilation[1] == 1 and not (op.residual and op.residual.x is port.tensor)
            and (op.y.nchw[0] == 1 or op.y.nchw[2] * op.y.nchw[3] > 1)
            for op in readers) and not any(p.tensor is port.tensor for p in self.graph.outputs))

    def best(self) -> tuple[Schedule, list[list[Step]]]:
        """The best of several attempts to schedule and to order. Where DRAM has a price, those that
        do not think of it are among them, so that it makes nothing dearer."""
        shares = (RESIDENT_SHARE, LESS) if self._may_go_deep() else (RESIDENT_SHARE,)
        found = itertools.starmap(self._best_with, itertools.product(
            shares, dict.fromkeys((0, self.price))))
        return min(found, key=lambda found: found[2])[:2]

    def _best_with(self, share: float, price: float) -> tuple[Schedule, list[list[Step]], float]:
        """The same with a share of the scratchpad for tensors that stay and a price of DRAM that
        the emitters think of, one choice after another; and the cost."""
        total = sum(self.work.macs.values()) / (self.config.macs * self.ranks)
        pieces = PIECES * (1 if self.ranks == 1 else GANG_PIECES * self.ranks)
        start = next((g for g in GRAINS[:-1] if g * pieces >= total), GRAINS[-2])
        choice: dict[str, Any] = {"grain": start, "longest": CHAINS[0], "spread": True,
                                  "channels": 0, "exposed": EXPOSED[0], "joins": False,
                                  "share": share, "depth": self._may_go_deep(),
                                  "price": price, "least": False, "maps": SHARED_MAPS[0],
                                  "planned": self.ranks > 1, "once": True, "slabs": self.ranks > 1}
        found: tuple[Schedule, list[list[Step]], float] | None = None
        tried = set[int]()
        for change in [{}, *self._changes(choice)]:
            attempt = {**choice, **change}
            try:
                s = self._emitted(**attempt)
            except CompileError:
                if attempt["slabs"]:    # of which there may be less than of strips
                    continue
                raise
            key = _key(s.steps)
            if key in tried:
                continue
            tried.add(key)
            ordered = self._ordered(s)
            if found is None or ordered[2] < found[2]:
                found, choice = ordered, attempt
        assert found is not None, "each list of changes has one without slabs"
        return found

    def _changes(self, first: dict[str, Any]) -> list[dict[str, Any]]:
        """What is tried in turn after a first choice."""
        start, price, gang = first["grain"], bool(first["price"]), self.ranks > 1
        sizes = [{"planned": False, "maps": v} for v in SHARED_MAPS * gang]
        return [
            *sizes, *({"slabs": False, "longest": v} for v in (CHAINS + GANG_CHAINS) * gang),
            *sizes,
            *({"longest": v} for v in CHAINS[1:] * (not gang) + BETWEEN * price),
            {"spread": False},
            *[{"longest": CHAINS[0], "least": True}] * price,
            *({"share": v} for v in SHARES * price),
            *[{"once": False}] * gang,
            *({"channels": v} for v in MAPS), *({"exposed": v} for v in EXPOSED[1:]),
            *({"grain": g} for g in GRAINS if g != start and 2 * g >= start),
            *[{"joins": True}] * bool(joined(self.graph, self.config)),
            *[{"depth": False}] * first["depth"]]

    def _ordered(self, s: Schedule) -> tuple[Schedule, list[list[Step]], float]:
        """An attempt with the instructions of each rank in their order, and its cost: cycles, and
        what its DRAM bytes are worth in cycles."""
        if self.ranks == 1:
            steps, cycles = best_order(s.steps, self.config)
            ranks = [steps]
        else:
            steps, _ = best_order(spread(s.steps, self.config, s.once, s.slabs), self.config,
                                  self.memory / self.config.bus_bytes)
            ranks = self._streams(steps)
            cycles = gang_cycles(gang(ranks, self.config, self.memory))
        moved = sum(step.moved_words * s.lanes + step.code_bytes for mine in ranks for step in mine)
        return s, ranks, cycles + self.price * moved

    def _may_go_deep(self) -> bool:
        """Whether there are scores, and no cache."""
        kinds = {type(op) for op in self.graph.ops}
        return Rows in kinds and Place not in kinds

    def _emitted(self, grain: int, spread: bool, longest: int, channels: int,
                 exposed: float, joins: bool, depth: bool, share: float, price: float,
                 least: bool, maps: int, planned: bool, once: bool, slabs: bool) -> Schedule:
        """All operators' instructions, in a legal order; ``depth``: depth first. With ``slabs``
        there are no strips, whose rows the ranks share one after another."""
        s = Schedule(self.graph, self.config, self.packed, grain, spread, channels, exposed, joins,
                     share, price, self.ranks, maps, self._ways if planned else None, once, slabs)
        ops = depth_first(self.graph) if depth else self.graph.ops
        at = 0
        while at < len(ops):
            count = (emit_chain(s, ops[at:], 0 if slabs else longest, least)
                     or self._emit(s, *ops[at:at + 3]))
            for op in ops[at:at + count]:
                s.made(op.y)
                for x in op.inputs:
                    s.used(x)
            at += count
        return s

    @functools.cached_property
    def _ways(self) -> dict[Tensor, Grid]:
        """How a gang's ranks share the operators, as a model of each by itself has it."""
        fresh = Schedule(self.graph, self.config, self.packed, GRAINS[0], True, 0, EXPOSED[0],
                         False, RESIDENT_SHARE, 0, self.ranks)
        return Ways(fresh, self.memory).best()

    @staticmethod
    def _follows(s: Schedule, op: Conv, then: Op | None) -> bool:
        """Whether the operator behind a convolution may be emitted between its boxes: one of whole
        pixels, or one of elements that is the only reader."""
        if then is None or op.y not in then.inputs or op.y in s.dram.joined:
            return False
        return isinstance(then, Rows) or (
            elementwise(then) and s.uses[op.y] == 1 and op.y not in s.kept)

    def _emit(self, s: Schedule, op: Op, then: Op | None = None, last: Op | None = None) -> int:
        """One operator, or that and the one or two behind it; how many it was."""
        s.node = op.node
        copy = copy_of(*(op, then) if isinstance(op, Rows) else (then, last))
        if isinstance(op, Conv) and windowed(op, self.config):
            emit_depthwise(s, op)
        elif isinstance(op, Conv):
            fused = emit_conv(s, op, *(then, copy) if self._follows(s, op, then) else ())
            return 1 + fused + (fused and copy is not None)
        elif isinstance(op, Pool):
            emit_pool(s, op)
        elif isinstance(op, Move):
            emit_move(s, op)
        elif isinstance(op, Concat):
            emit_concat(s, op)
        elif isinstance(op, Rows):
            emit_rows(s, op, copy)
            return 1 + (copy is not None)
        elif isinstance(op, Place):
            emit_place(s, op)
        elif isinstance(op, Add):
            emit_add(s, op)
        else:
            raise AssertionError(f"pass matrices has left {op}")
        return 1

    def _streams(self, steps: list[Step]) -> list[list[Step]]:
        """The instructions of each rank, with waits, of all in their order."""
        before = [[steps[k] for k in need] for need in dependencies(steps)]
        found = streams(steps, before, self.config, self.ranks, self.source.name)
        for mine in found:
            waits(mine)
        return found

    def table(self, s: Schedule, ranks: list[list[Step]], shared: "Shared", starts: list[int]
              ) -> Program:
        """The program, or the entry, whose instructions, of each rank, begin at bytes ``starts`` of
        the image."""
        steps, cycles = ranks[0], self._predicted(ranks)
        source, legal = self.source, self.legal
        pre, new_in = hosts.before(source, legal.pre, legal.inputs, legal.passing)
        post, new_out = hosts.after(source, legal.post, legal.crossing, legal.passing)
        inputs = [self._buffer(s, p, new_in) for p in self.graph.inputs]
        outputs = [self._buffer(s, p, new_out) for p in self.graph.outputs]
        return Program(
            name=source.name, config=self.config, image=shared.image, start=starts[0],
            instruction_count=len(steps) + 1, patches=_patches(steps),
            inputs=inputs, outputs=outputs, region_sizes=shared.region_sizes,
            nodes=list(self.graph.nodes), node_of=[step.node for step in steps] + [-1],
            macs=self.work.macs.total(), multiplications=self.work.slots,
            precision=self.precision,
            node_macs=[self.work.macs[node] for node in range(len(self.graph.nodes))],
            compulsory_bytes=self.work.kept_bytes + sum(b.size for b in [*inputs, *outputs]),
            predicted_cycles=cycles[0], placement=self._placement(sum(ranks, [])),
            streams=[Stream(start, len(mine) + 1, [step.node for step in mine] + [-1], added)
                     for start, mine, added in zip(starts[1:], ranks[1:], cycles[1:])],
            host_pre=pre, host_post=post)

    def _predicted(self, ranks: list[list[Step]]) -> list[list[int]]:
        """Cycles that each instruction adds; of rank 0's END those that the others still take."""
        if self.ranks == 1:
            return [predict(ranks[0], self.config) + [0]]
        found = gang(ranks, self.config, self.memory)
        most = gang_cycles(found)
        return [added + [0 if k else most - sum(added)] for k, added in enumerate(found)]

    @property
    def memory(self) -> int:
        """Bytes that the memory of the cores moves in a cycle, as of the chips that have a name: a
        channel as wide as the bus for each row of a square of them."""
        channels = 1 << ((self.ranks - 1).bit_length() + 1) // 2
        return channels * self.config.bus_bytes

    def encode(self, steps: list[Step]) -> bytes:
        """The instructions, END included, whose waits and addresses are known, up to the end of
        their last block."""
        code = bytearray()
        for step in steps:
            try:
                code += Instruction(step.opcode, step.fields).encode()
            except ValueError as e:
                raise CompileError(self.graph.where(step.node),
                                   f"it does not fit an instruction ({e})",
                                   "use a smaller kernel, stride or map") from e
        code += Instruction(Opcode.END).encode()
        return bytes(code.ljust(whole_blocks(len(code)), b"\0"))

    def _placement(self, steps: list[Step]) -> list[dict[str, str]]:
        engine: dict[str, str] = {}
        for step in steps:
            if step.node >= 0 and step.opcode in ENGINE_OF:
                engine.setdefault(self.graph.nodes[step.node], ENGINE_OF[step.opcode])
        order = {n: i for i, n in enumerate(self.graph.nodes)}
        out = [{"node": n.name, "op": n.op_type, "engine": "none", "reason": "it is constant"}
               for n in self.source.folded]
        out += [{"node": n.name, "op": n.op_type, "engine": "none", "reason": f"part of {whole!r}"}
                for whole, parts in self.source.spelled.items() for n in parts if n.name != whole]
        for row in sorted(self.legal.placement, key=lambda r: order[r["node"]]):
            if row["engine"] == "none" and row["node"] in engine:
                kind = engine[row["node"]]
                opcode = next(o.name for o, name in ENGINE_OF.items() if name == kind)
                row = {**row, "engine": kind, "reason": f"{opcode} instructions"}
            out.append(row)
        return out

    def _buffer(self, s: Schedule, port: Port, renamed: dict[str, str]) -> Buffer:
        t, home = port.tensor, s.dram.homes[port.tensor]
        y = Layout.of(t, s.lanes, t in self.packed)
        scale, zero_point = self.legal.quantization.get(port.name, (t.scale, t.zero_point))
        return Buffer(
            name=renamed.get(port.name, port.name), region=int(home.region), offset=home.offset,
            size=y.words * s.lanes, dtype=t.dtype, shape=port.shape, view=port.view,
            perm=port.perm, nchw=port.nchw, cell=port.cell,
            kind="packed" if y.packed else "blocked", n_pitch=y.image * s.lanes,
            block_pitch=y.block * s.lanes, row_pitch=y.row * s.lanes, fill=port.fill,
            scale=float(np.float32(scale)), zero_point=int(zero_point))


@dataclass(frozen=True)
class Shared:
    """What the entries of a program have in common."""

    image: bytes
    region_sizes: dict[int, int]


def program(backends: Sequence[Backend]) -> Program:
    """The program of a network, or of several that share constants and states, each an entry."""
    config, states = backends[0].config, [
        [(t.name, t.nchw) for t in b.graph.states] for b in backends]
    assert all(s == states[0] for s in states), "each entry has the states of all"
    found = [b.best() for b in backends]
    starts = list(itertools.accumulate(
        (whole_blocks(sum(step.code_bytes for step in steps) + UNIT_BYTES)
         for _, ranks in found for steps in ranks), initial=0))
    base = starts.pop()
    constants = Constants(config.lanes)
    code = b""
    for backend, (s, ranks) in zip(backends, found):
        for step in s.steps:
            if step.stream is not None:
                constants.place(step.stream)
        for steps in ranks:
            for step in steps:
                if step.stream is not None:
                    step.fields["dram"] += base + constants.place(step.stream)
            waits(steps)
            code += backend.encode(steps)
    image = code + bytes(constants.data)
    sizes = {int(r): aligned(max(s.dram.sizes[r] for s, _ in found)) for r in Region}
    sizes[int(Region.PROGRAM)] = aligned(len(image))
    shared = Shared(image, sizes)
    of_each = [[starts.pop(0) for _ in ranks] for _, ranks in found]
    first, *others = (b.table(s, ranks, shared, at)
                      for b, (s, ranks), at in zip(backends, found, of_each))
    return replace(first, entries=others)


def _patches(steps: list[Step]) -> list[Patch]:
    return [Patch(i, "dram", *one) for i, step in enumerate(steps) for one in step.varying]
