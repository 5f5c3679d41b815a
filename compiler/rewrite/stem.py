# SPDX-License-Identifier: Apache-2.0
"""Space to depth for the first layer.

A vector of a packed input holds several pixels of four bytes. A gray image fills one of the four,
so a strided first convolution leaves most lanes idle. Where input and stride allow it, a cell of
``sy x sx`` pixels becomes one pixel with as many channels::

    column  x*sx - px + s  =  (x - P)*sx + (s + d),     P = ceil(px / sx),  d = P*sx - px

so tap ``s`` is column ``(s + d) // sx`` of a cell kernel with stride 1, channel ``(s + d) % sx``.
The host puts the pixels in that order when it packs the input; the sums stay the same.
"""

from dataclasses import replace

import numpy as np

from compiler.ir.graph import Conv, Graph, Op, Port, Tensor
from compiler.ir.passes import Pass
from compiler.machine.weights import steps_along
from isa.config import GRANULE, Config
from isa.instructions import ABSENT


def space_to_depth(graph: Graph, config: Config) -> Graph:
    """The graph with the inputs regrouped that gain by it."""
    for i, port in enumerate(graph.inputs):
        readers = _readers(graph, port)
        cell = _cell(graph, port, readers, config)
        if cell is None:
            continue
        t = port.tensor
        n, c, h, w = t.nchw
        sy, sx = cell
        cells = Tensor(t.name, (n, c * sy * sx, -(-h // sy), -(-w // sx)), t.dtype, t.scale,
                       t.zero_point)
        for op in readers:
            assert isinstance(op, Conv)
            graph.inputs[i] = replace(port, tensor=cells, cell=cell, fill=op.a_zp)
            graph.ops[graph.ops.index(op)] = _regrouped(op, cells, cell)
    return graph


def _readers(graph: Graph, port: Port) -> list[Op]:
    return [op for op in graph.ops if port.tensor in op.inputs]


def _cell(graph: Graph, port: Port, readers: list[Op], config: Config) -> tuple[int, int] | None:
    """The stride that all readers share, if regrouping saves them passes."""
    t = port.tensor
    convs = [op for op in readers if isinstance(op, Conv) and op.x is t and op.groups == 1
             and op.dilation == (1, 1) and op.residual is None]
    kinds = {(op.stride, op.a_zp) for op in convs}
    if len(kinds) != 1 or len(convs) < len(readers) or any(p.tensor is t for p in graph.outputs):
        return None
    cell = convs[0].stride
    if t.nchw[1] * cell[0] * cell[1] > GRANULE or config.lanes <= GRANULE * t.size:
        return None

    def passes(kernel: tuple[int, int]) -> int:
        return kernel[0] * steps_along(kernel[1], config.lanes, True, t.size)

    saved = sum(passes(op.kernel) - passes(_kernel(op, cell)[0]) for op in convs)
    return cell if saved > 0 else None


def _kernel(op: Conv, cell: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int],
                                                      tuple[int, int]]:
    """Size of the cell kernel, its pad, and where the kernel starts in it."""
    pad = tuple(-(-p // s) for p, s in zip(op.pad, cell))
    start = tuple(q * s - p for q, p, s in zip(pad, op.pad, cell))
    size = tuple(-(-(k + d) // s) for k, d, s in zip(op.kernel, start, cell))
    return (size[0], size[1]), (pad[0], pad[1]), (start[0], start[1])


def _regrouped(op: Conv, x: Tensor, cell: tuple[int, int]) -> Conv:
    (r, s), pad, (dy, dx) = _kernel(op, cell)
    sy, sx = cell
    k, c = op.weight.shape[:2]
    absent = ABSENT if x.floating else 0
    full = np.full((k, c, r * sy, s * sx), absent, op.weight.dtype)
    full[:, :, dy:dy + op.kernel[0], dx:dx + op.kernel[1]] = op.weight
    weight = (full.reshape(k, c, r, sy, s, sx).transpose(0, 3, 5, 1, 2, 4)
              .reshape(k, sy * sx * c, r, s))
    return replace(op, x=x, weight=np.ascontiguousarray(weight), stride=(1, 1), pad=pad)


def _left(graph: Graph, config: Config) -> list[Op]:
    found = [(port, _readers(graph, port)) for port in graph.inputs]
    return [op for port, ops in found for op in ops if _cell(graph, port, ops, config)]


STEM = Pass("stem", space_to_depth, _left, "an input that gains by space to depth is in cells")
