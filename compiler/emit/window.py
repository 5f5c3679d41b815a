# SPDX-License-Identifier: Apache-2.0
"""WINDOW instructions: depthwise convolutions, and pools with a small window.

The engine walks input columns, so the columns of a kernel have to be neighbors. A dilated kernel
reads every ``d``-th column; where the stride is no multiple of ``d`` the outputs fall into phases,
one instruction each, that do. What does not fit the engine, the array or the vector engine does.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from compiler.emit.schedule import Schedule
from compiler.ir.floats import PRODUCT_ANCHOR, anchor, bounds, patterns
from compiler.ir.graph import DTYPE, Conv, Pool
from compiler.machine.constants import Stream
from compiler.machine.loops import clamp
from compiler.machine.place import Box, View
from compiler.machine.steps import SPM
from compiler.machine.timing import window_cycles
from compiler.machine.weights import Coding, addends
from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import WINDOW_KERNEL, WINDOW_STEPS, Opcode, WindowOp

STRIDE_MAX = 7


@dataclass(frozen=True)
class Taps:
    """The kernel as the engine walks it: every ``unit``-th column is one of its columns, of which
    outputs are ``stride`` apart; ``phases`` instructions cover a row."""

    rows: int
    columns: int
    stride: int
    unit: int
    phases: int
    floating: bool = False

    def groups(self, config: Config) -> int:
        """Weight steps of a column and kernel row."""
        taps = -(-self.columns // self.stride)
        return -(-taps // config.window_taps)

    def steps(self, config: Config) -> int:
        """Weight steps of a channel block."""
        return self.stride * self.rows * self.groups(config)

    def words(self, config: Config) -> int:
        """Words of a channel block's weights and parameters."""
        params = FLOAT_PARAM_WORDS if self.floating else PARAM_WORDS
        return self.steps(config) * config.window_taps + params


def taps_of(op: Conv | Pool, config: Config) -> Taps | None:
    """How the engine takes the operator's kernel; None if it does not. Its results have the type
    that it computes with."""
    if not config.window_taps or DTYPE[op.x.dtype] != DTYPE[op.y.dtype]:
        return None
    (rows, columns), step, unit = op.kernel, op.stride[1], op.dilation[1] if op.kernel[1] > 1 else 1
    if op.y.nchw[3] == 1 and unit == 1:  # nothing to be apart: a stride that fills the lanes' MACs
        step = -(-columns // config.window_taps)
    phases = unit // math.gcd(step, unit)
    taps = Taps(rows, columns, phases * step // unit if unit > 1 else step, unit, phases,
                op.x.floating)
    if max(rows, columns) > WINDOW_KERNEL or taps.stride > STRIDE_MAX or \
            taps.steps(config) > WINDOW_STEPS:
        return None
    return taps


def windowed(op: Conv, config: Config) -> Taps | None:
    """How the engine takes a convolution: a depthwise one of several channels (one alone may lie
    packed, for the array) whose weights are bytes."""
    k, c, _, _ = op.weight.shape
    if c != 1 or op.groups != k or k == 1 or op.residual is not None or len(addends(op.weight)) > 1:
        return None
    return taps_of(op, config)


def weights(taps: Taps, config: Config, lanes: np.ndarray, coding: Coding, bias: np.ndarray,
            scale: np.ndarray) -> bytes:
    """Weights and parameters of channel blocks.

    Parameters
    ----------
    lanes : int16 [blocks, L, rows, columns]
        Weights less their zero point. Of floats uint16 [blocks, L / 2, rows, columns], patterns.
    bias, scale : int32 (of floats float32), float32 [blocks, L or L / 2]
    """
    blocks, width = lanes.shape[:2]
    ng, st, each = taps.groups(config), taps.stride, config.window_taps
    full = np.zeros((blocks, width, taps.rows, ng * each * st), lanes.dtype)
    full[..., :taps.columns] = lanes
    # column s = p + k * stride is product k of phase p
    order = (full.reshape(blocks, width, taps.rows, ng * each, st).transpose(0, 4, 2, 3, 1))
    if taps.floating:
        data = np.ascontiguousarray(order, "<u2").reshape(blocks, -1).view(np.uint8)
    else:
        data = ((order + np.int16(coding.zp)) & 0xFF).astype(np.uint8).reshape(blocks, -1)
    params = np.concatenate([bias.astype("<f4" if taps.floating else "<i4").view(np.uint8),
                             scale.astype("<f4").view(np.uint8)], axis=1)
    return np.concatenate([data, params], axis=1).tobytes()


def depthwise_stream(op: Conv, taps: Taps, config: Config, blocks: range
                     ) -> tuple[Stream, Coding]:
    """Those of channel blocks of a depthwise convolution; absent channels have zero weights, bias
    0 and scale 1."""
    ((weight, coding),) = addends(op.weight)
    words = taps.words(config)

    def make() -> bytes:
        data = _depthwise(op, taps, config, weight, coding)
        return data[blocks.start * words * config.lanes:blocks.stop * words * config.lanes]
    return Stream(len(blocks) * words, make), coding


def _depthwise(op: Conv, taps: Taps, config: Config, weight: np.ndarray, coding: Coding) -> bytes:
    k, lanes = len(op.bias), config.lanes // DTYPE[op.x.dtype].size
    blocks = -(-k // lanes)
    full = np.zeros((blocks * lanes, *weight.shape[2:]), weight.dtype)
    bias, scale = np.zeros(blocks * lanes, op.bias.dtype), np.ones(blocks * lanes, np.float32)
    full[:k], bias[:k], scale[:k] = weight[:, 0], op.bias, op.scale
    return weights(taps, config, full.reshape(blocks, lanes, *weight.shape[2:]), coding,
                   bias.reshape(blocks, lanes), scale.reshape(blocks, lanes))


def pool_stream(op: Pool, taps: Taps, config: Config, scale: np.float32) -> Stream:
    """A pool's: ones, for every channel block the same. -0 as a number's bias keeps the sign of a
    maximum that is zero."""
    return Stream(taps.words(config), partial(_pool, op, taps, config, scale))


def _pool(op: Pool, taps: Taps, config: Config, scale: np.float32) -> bytes:
    lanes = config.lanes // DTYPE[op.x.dtype].size
    ones = np.ones((1, lanes, taps.rows, taps.columns), np.int16)
    bias = np.zeros((1, lanes), np.int32)
    if taps.floating:
        ones, bias = patterns(ones, op.x.dtype), np.full((1, lanes), -0.0, np.float32)
    return weights(taps, config, ones, Coding(True, 0), bias,
                   np.full((1, lanes), scale, np.float32))


@dataclass(frozen=True)
class Operands:
    """Where weights lie: address of channel block ``first``'s, words of a block and from one to the
    next (0: all have the same), coding."""

    at: int
    first: int
    words: int
    step: int
    coding: Coding

    def of(self, block: int) -> int:
        """Address of a channel block's weights."""
        return self.at + (block - self.first) * self.step

    def extent(self, area: Box) -> tuple[int, int, int]:
        """Words of the channel blocks of a box."""
        return SPM, self.of(area.b0), self.of(area.b1 - 1) + self.words


def emit_window(s: Schedule, op: Conv | Pool, taps: Taps, area: Box, x: View, out: View,
                operands: Operands) -> None:
    """Append the instructions for one box of outputs."""
    for phase in range(taps.phases):
        columns = len(range(area.x0 + (phase - area.x0) % taps.phases, area.x1, taps.phases))
        if columns:
            first = area.x0 + (phase - area.x0) % taps.phases
            _emit(s, op, taps, area, first, columns, x, out, operands)


def split(config: Config, taps: Taps, blocks: int, rows: int, columns: int, ix0: int, iw: int,
          unit: int) -> tuple[int, int]:
    """The cheapest number of pixel streams (log2), and its cycles."""
    best = None
    for m in range(config.tiles.bit_length()):
        gm = 1 << m
        fields = {"nnb": -(-blocks // (config.tiles >> m)), "ny": -(-rows // gm), "nx": columns,
                  "stride": taps.stride, "ns": taps.columns, "nr": taps.rows,
                  "ng": taps.groups(config), "ix0": ix0, "ix_x": unit, "iw": iw, "m_split": m,
                  "dtype": int(taps.floating)}
        cycles = window_cycles(config, fields)
        if best is None or cycles < best[1]:
            best = (m, cycles)
    assert best is not None
    return best


def _emit(s: Schedule, op: Conv | Pool, taps: Taps, area: Box, x0: int, nx: int, x: View,
          out: View, w: Operands) -> None:
    (sy, sx), dy = op.stride, op.dilation[0]
    x, out = x.of(s.rank), out.of(s.rank)
    iy, ix = area.y0 * sy - op.pad[0], x0 * sx - op.pad[1]
    blocks, rows = area.b1 - area.b0, area.y1 - area.y0
    m_split, _ = split(s.config, taps, blocks, rows, nx, ix, op.x.nchw[3], taps.unit)
    gm, gn = 1 << m_split, s.config.tiles >> m_split
    ny, nnb = -(-rows // gm), -(-blocks // gn)
    ya, yb = clamp(iy, iy + (rows - 1) * sy + (taps.rows - 1) * dy + 1, op.x.nchw[2])
    xa, xb = clamp(ix, ix + (nx - 1) * taps.stride * taps.unit
                   + (taps.columns - 1) * taps.unit + 1, op.x.nchw[3])
    a_base, a_row = x.origin(area.n0, area.b0, iy, ix)
    o_base, o_row = out.origin(area.n0, area.b0, area.y0, x0)
    maximum = isinstance(op, Pool) and op.maximum
    f = {
        "wop": int(WindowOp.MAX if maximum else WindowOp.MAC), "nx": nx, "ny": ny, "nnb": nnb,
        "ns": taps.columns, "nr": taps.rows, "stride": taps.stride, "ng": taps.groups(s.config),
        "a_base": a_base, "a_row": a_row, "a_wrap": x.wrap, "a_x": taps.unit, "a_n": x.block,
        "a_y": x.step(gm * sy), "a_r": x.step(dy), "a_m": x.step(sy),
        # streams without a valid last row must not read below the box
        "ix0": ix, "ix_x": taps.unit, "iy0": iy, "iy_y": gm * sy, "iy_r": dy, "iy_m": sy,
        "iw": op.x.nchw[3], "ih": yb, "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp,
        "w_ahead": 1, "w_base": w.of(area.b0), "w_n": w.step, "w_signed": int(w.coding.signed),
        "w_zp": w.coding.zp,
        "m_split": m_split, "m_last": rows - gm * (ny - 1), "n_last": blocks - gn * (nnb - 1),
        "o_base": o_base, "o_row": o_row, "o_wrap": out.wrap, "o_x": taps.phases,
        "o_n": out.block, "o_y": out.step(gm), "o_m": out.step(1),
        "dtype": DTYPE[op.x.dtype], "anchor": anchor(op.x, PRODUCT_ANCHOR),
        **bounds(op.y, op.clip, ("z", "lo", "hi"))}
    del f["o_type"]  # the engine's results have the type of its operands
    reads = x.extents(Box(area.n0, area.n1, area.b0, area.b1, ya, yb, xa, xb))
    s.emit(Opcode.WINDOW, f, [*reads, w.extent(area)], out.extents(area))


def load_operands(s: Schedule, stream: Stream, coding: Coding, blocks: range | None, then: int
                  ) -> Operands:
    """Allocate and LOAD weights for channel blocks (None: all have the same); ``then`` words are
    still to come."""
    words = stream.words
    at = s.spm.rotating(words, then)
    assert at is not None, "the tile fits"
    s.load_weights(stream, at)
    if blocks is None:
        return Operands(at, 0, words, 0, coding)
    return Operands(at, blocks[0], words // len(blocks), words // len(blocks), coding)
