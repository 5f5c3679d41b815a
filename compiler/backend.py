# SPDX-License-Identifier: Apache-2.0
"""The back end: a graph becomes a program, the best of several attempts.

====================  =============================================================================
schedule, emit        layout, tiling, allocation: instructions in a legal sequential order
order                 the order in which a model of the machine would start them
hazards               waits
timing                predicted cycles
====================  =============================================================================

Which attempt is the best: :mod:`compiler.attempts`.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.attempts import Attempts
from compiler.emit.schedule import Schedule
from compiler.ir.errors import CompileError
from compiler.ir.graph import Conv, Graph, Port, Product
from compiler.lower import hosts
from compiler.lower.legalize import Legal
from compiler.machine.constants import Constants, aligned
from compiler.machine.place import Layout
from compiler.machine.running import predict
from compiler.machine.shared import gang, gang_cycles
from compiler.machine.steps import Step, code_size
from compiler.order.hazards import waits
from compiler.source.frontend import Source
from isa.config import GRANULE, Config
from isa.instructions import Instruction, Opcode, Region, whole_blocks
from isa.layout import Buffer
from isa.program import Patch, Program, Stream

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


class Backend:
    """Instructions and tables of one program.

    ``dram_price``: of a byte between DRAM and the machine, in the time that the bus takes for it.
    ``ranks``: cores that share the work. ``say`` is called with progress.
    """

    def __init__(self, source: Source, legal: Legal, graph: Graph, config: Config,
                 work: Work, precision: str, dram_price: float, ranks: int = 1,
                 say: Callable[[str], None] = lambda text: None):
        self.ranks, self.precision = ranks, precision
        self.source, self.legal, self.graph, self.config = source, legal, graph, config
        self.work = work
        self.packed = {p.tensor for p in graph.inputs if self._packs(p)}
        self.attempts = Attempts(graph, config, self.packed, work.macs.total(),
                                 dram_price / config.bus_bytes, ranks, source.name, say)

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
        found = gang(ranks, self.config, self.attempts.memory)
        most = gang_cycles(found)
        return [added + [0 if k else most - sum(added)] for k, added in enumerate(found)]

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
    found = [b.attempts.best() for b in backends]
    starts = list(itertools.accumulate(
        (code_size(steps) for _, ranks in found for steps in ranks), initial=0))
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
                    step.base = 0
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
