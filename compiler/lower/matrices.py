# SPDX-License-Identifier: Apache-2.0
"""Matrix products of two activations.

Each matrix of the first operand is rows, each a pixel with the elements of the reduction as its
channels; the matrices are ranges of the channels of one tensor. The second operand is read in
either of the two orders that its tensor may have (:class:`compiler.ir.graph.Product`).
"""

from dataclasses import replace

import numpy as np

from compiler.ir.floats import WORD
from compiler.ir.graph import Tensor
from compiler.lower.builder import Builder
from compiler.lower.finish import as_number
from compiler.lower.moves import demand
from compiler.lower.values import INF, Deq, Matrices, Real, identity, is_number


def product(build: Builder, x: Deq, w: Deq, scores: bool = False) -> Real:
    """``x`` [..., M, C] times ``w`` [..., C, N]; the axes in front are broadcast. Of ``scores``,
    which a softmax follows, those of each row begin with a word, and minus infinity fills its last
    one."""
    if build.floats and (is_number(x) or is_number(w)):
        x, w = as_number(build, x), as_number(build, w)
    (m, depth), n = x.q.shape[-2:], w.q.shape[-1]
    lead = np.broadcast_shapes(x.q.shape[:-2], w.q.shape[:-2])
    first, rows = _each(x, lead)
    second, columns = _each(w, lead)
    left, pitch = _first(build, x, rows.transpose(0, 2, 1))
    right, turned = _second(build, w, columns)
    count, (h, wide) = len(first), left.nchw[2:]
    scores &= bool(build.floats)
    word = WORD if is_number(x) else 2 * WORD
    outputs = n + -n % word if scores else n
    place = identity((count, outputs, h * wide))[:, :n].transpose(0, 2, 1).reshape(*lead, m, n)
    return Real(Matrices(x, w, (left, right), depth, pitch, outputs, n,
                         -INF if scores else 0.0, first, second, turned),
                index=place)


def _each(v: Deq, lead: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray]:
    """Of each product which matrix it reads, and the matrices that differ: ``[count, rows,
    columns]`` of the index. What was expanded over an axis, as the keys of grouped queries, is
    there once."""
    wide = np.broadcast_to(v.q.index, lead + v.q.shape[-2:]).reshape(-1, *v.q.shape[-2:])
    known: dict[bytes, int] = {}
    which = tuple(known.setdefault(matrix.tobytes(), len(known)) for matrix in wide)
    return which, wide[[which.index(i) for i in range(len(known))]]


def _first(build: Builder, v: Deq, matrices: np.ndarray) -> tuple[Tensor, int]:
    """The tensor of the first operands ``[count, channels, pixels]``, and how many channels lie
    between one and the next."""
    t, (count, depth, pixels) = v.q.storage.tensor, matrices.shape
    if t is not None and v.q.storage.padded and t.nchw[1] % count == 0:
        pitch = t.nchw[1] // count
        there = identity((count, pitch, pixels))[:, :depth]
        if int(np.prod(t.nchw)) == count * pitch * pixels and (
                replace(v.q, index=matrices).positions() == there).all():
            return t, pitch
    return _tensor(build, v, matrices), depth


def _fits(v: Deq, order: np.ndarray) -> bool:
    """Whether a tensor of one image has its elements ``[channels, pixels]`` in this order."""
    t = v.q.storage.tensor
    if t is None or t.nchw[0] != 1 or int(np.prod(t.nchw)) != order.size or \
            t.nchw[1] != order.shape[0]:
        return False
    found = replace(v.q, index=order).positions()
    return bool((found.ravel() == np.arange(order.size)).all())


def _tensor(build: Builder, v: Deq, matrices: np.ndarray) -> Tensor:
    """A tensor with ``matrices`` [count, channels, pixels] side by side along the channels."""
    order = np.ascontiguousarray(matrices).reshape(-1, matrices.shape[2])
    if _fits(v, order):
        assert v.q.storage.tensor is not None
        return v.q.storage.tensor
    return demand(build, v.q, order[None, :, None, :], v.zero_point)


def _second(build: Builder, w: Deq, matrices: np.ndarray) -> tuple[Tensor, bool]:
    """The tensor of the second operands ``[count, C, N]``, and whether they are turned there: where
    the outputs are channels already, so that only whole pixels move, if at all.
    """
    t = w.q.storage.tensor
    row = replace(w.q, index=matrices[0, 0]).positions()
    if t is not None and len(row) > 1 and (np.diff(row) == t.nchw[2] * t.nchw[3]).all():
        return _tensor(build, w, matrices.transpose(0, 2, 1)), True
    return _tensor(build, w, matrices), False
