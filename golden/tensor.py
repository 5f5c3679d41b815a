# SPDX-License-Identifier: Apache-2.0
"""TENSOR: a convolution or matrix product over rectangles of output pixels, post-processed.

For every rectangle (ty, tx), group nb, kernel row r, kernel step s and channel block cb, and for
every pixel (y, x) of the rectangle, stream ``m`` reads one vector of L activation bytes; tile
``t = m * gn + n`` multiplies it with its L x L weights and adds the L sums to PSUM entry (y, x).
Which rectangle a pixel lies in does not change its result, so the model computes all pixels at
once; only an instruction that holds its PSUM bank, which has a single rectangle, leaves a trace.

With a float ``dtype`` a vector has L / 2 activations of two bytes, a column as many weights, and
PSUM entries are exact sums (:mod:`golden.exact`).

``v = f32(acc + bias)`` (INT8) or ``v = f32(acc)`` leaves the accumulators, ``v = f32(v * scale)``,
with floats ``v = f32(v + bias)``. Where everything is INT8 that is requantized, and the residual
added, as :mod:`golden.arith` says. Otherwise ``v = f32(v + f32(residual * scale_r))``, without a
residual ``v + 0``, and :mod:`golden.results` makes the output of it. An output type of ``s`` bytes
gives a block of L columns ``s`` words, the first columns first; each is a step ``o_n`` (``r_n``)
further. The residual's type is no larger.

Address of a vector, in granules of four bytes, with X = tx * nx + x and Y = ty * ny + y::

    a_base + X*a_x + s*a_s + cb*a_cb + nb*a_nb + wrap(a_row + Y*a_y + r*a_r + m*a_m)

Granule g of the vector is inside the image if ``0 <= ix0 + X*ix_x + s*ix_s + dx < iw``, with ``dx``
0, ``g`` or ``g >> 1`` for ``lane_dx`` 0, 1 or 2, and ``0 <= iy0 + Y*iy_y + r*iy_r + m*iy_m < ih``;
outside it delivers ``pad``, or a float zero. A vector that lies wholly outside is not read, so only
the others have to lie in the scratchpad. Addresses are computed modulo the width of their fields,
image coordinates modulo 2**18, both as two's complement.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from golden import arith, exact
from golden.address import modular, on_circle, total, wrap
from golden.exact import Sums
from golden.fault import MachineFault
from golden.formats import to_float
from golden.results import Exceptions, convert, known
from isa.config import GRANULE, PARAM_WORDS, REDUCTION, Config
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, DType, Fault, Instruction

GRANULE_BITS = SPM_ADDRESS_BITS + 2

CHUNK = 1 << 22
"""Activation bytes gathered at a time."""


class Held(NamedTuple):
    """What has to agree between an instruction that holds its PSUM bank and the next one: the sums
    that there are, and what they are sums of."""

    nx_last: int
    ny_last: int
    m_split: int
    m_last: int
    n_last: int
    dtype: int
    anchor: int


class Tensor:
    """The tensor engine.

    Attributes
    ----------
    psum, sums, overflow : INT32, Sums and bool, [tiles, pixels, L]
        The bank that HOLD keeps open.
    held : Held, optional
        Of the instruction that opened it, if it is open.
    passes : int
        Passes summed in it.
    exceptions : Exceptions
        Counted so far.
    """

    def __init__(self, config: Config, exceptions: Exceptions | None = None):
        self.config = config
        shape = (config.tiles, config.psum_depth, config.lanes)
        self.psum, self.sums = np.zeros(shape, np.int32), Sums.zeros(shape)
        self.overflow = np.zeros(shape, bool)
        self.held: Held | None = None
        self.passes = 0
        self.exceptions = exceptions or Exceptions()

    def execute(self, i: Instruction, index: int, spm: np.ndarray) -> None:
        """Run one TENSOR on ``spm`` (uint8 [words, L]).

        Raises
        ------
        MachineFault
            BAD_FIELD or SPM_RANGE.
        """
        self._check(i, index)
        self.passes = i.nr * i.ns * i.ncb + (self.passes if i.acc else 0)
        self.held = Held(*(getattr(i, f) for f in Held._fields)) if i.hold else None
        gn = self.config.tiles >> i.m_split
        ys, xs = total(i.ny, i.nty, i.ny_last), total(i.nx, i.ntx, i.nx_last)
        weights, bias, scale = self._weights(i, index, spm, gn)
        compute = self._exact if i.dtype else self._integers
        value = compute(i, index, spm, weights, bias, scale, ys, xs)
        if value is not None:
            self._write(i, index, spm, *value, gn, ys, xs)

    def _gathered(self, i: Instruction, index: int, spm: np.ndarray, ys: np.ndarray,
                  xs: np.ndarray) -> Iterator[np.ndarray]:
        """Bytes of the activations [m, pixel, vector, L] for each group."""
        acts = np.empty(0)
        for nb in range(i.nnb):
            if nb == 0 or i.a_nb:
                acts = self._activations(i, index, spm, nb, ys, xs)
            yield acts

    def _integers(self, i: Instruction, index: int, spm: np.ndarray, weights: np.ndarray,
                  bias: np.ndarray, scale: np.ndarray, ys: np.ndarray, xs: np.ndarray
                  ) -> tuple[np.ndarray, np.ndarray] | None:
        """INT8 sums, requantized (INT32) or, where a float follows, scaled (binary32), [nb, m, n,
        pixel, column], and no overflows; None if they stay in the bank."""
        sums = np.stack([np.einsum("mpk,nkc->mnpc", acts, w, optimize=True) for acts, w in
                         zip(self._gathered(i, index, spm, ys, xs), weights, strict=True)])
        sums = sums.astype(np.int64)
        pixels = ys.size * xs.size
        if i.acc:
            sums = sums + self.psum[:, :pixels].reshape(sums.shape)
        sums = sums.astype(np.int32)
        if i.hold:
            self.psum[:, :pixels] = sums.reshape(self.config.tiles, -1, self.config.lanes)
            return None
        with np.errstate(over="ignore"):
            biased = sums + bias[:, None, :, None, :]
        scale, none = scale[:, None, :, None, :], np.zeros(biased.shape, bool)
        if i.o_type or (i.residual and i.r_type):
            return biased.astype(np.float32) * scale, none
        return arith.requantize(biased, scale, i.z1, i.lo1, i.hi1), none

    def _exact(self, i: Instruction, index: int, spm: np.ndarray, weights: np.ndarray,
               bias: np.ndarray, scale: np.ndarray, ys: np.ndarray, xs: np.ndarray
               ) -> tuple[np.ndarray, np.ndarray] | None:
        """Float sums, scaled and biased (binary32 [nb, m, n, pixel, column]), and which of them
        overflowed; None if they stay in the bank."""
        found = [exact.products(acts[:, None], w, DType(i.dtype), i.anchor) for acts, w in
                 zip(self._gathered(i, index, spm, ys, xs), weights, strict=True)]
        sums = Sums(*(np.stack(p) for p in zip(*(s.parts() for s, _ in found), strict=True)))
        overflow = np.stack([o for _, o in found])
        pixels = ys.size * xs.size
        if i.acc:
            sums = sums + Sums(*(p[:, :pixels].reshape(overflow.shape)
                                 for p in self.sums.parts()))
            overflow = overflow | self.overflow[:, :pixels].reshape(overflow.shape)
        if i.hold:
            for kept, new in zip((*self.sums.parts(), self.overflow), (*sums.parts(), overflow),
                                 strict=True):
                kept[:, :pixels] = new.reshape(self.config.tiles, pixels, self.config.lanes)
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            value = sums.to_float(exact.unit_of(DType(i.dtype), i.anchor))
            return value * scale[:, None, :, None, :] + bias[:, None, :, None, :], overflow

    def _check(self, i: Instruction, index: int) -> None:
        config = self.config
        counts = (i.nx, i.ny, i.ncb, i.ns, i.nr, i.nnb, i.ntx, i.nty, i.nx_last, i.ny_last)
        split = 1 << i.m_split
        passes = i.nr * i.ns * i.ncb + (self.passes if i.acc else 0)
        held = Held(*(getattr(i, f) for f in Held._fields))
        legal = (0 not in counts and i.nx * i.ny <= config.psum_depth
                 and i.dtype != DType.FP32 and known(config, i.dtype, i.o_type, i.r_type)
                 and (not i.residual or DType(i.r_type).size <= DType(i.o_type).size)
                 and i.lane_dx <= (2 if i.dtype else 1) and i.w_skip < DType(i.o_type).size
                 and (not i.dtype or passes * config.lanes <= 2 * REDUCTION)
                 and i.nx_last <= i.nx and i.ny_last <= i.ny
                 and split <= config.tiles and 1 <= i.m_last <= split
                 and 1 <= i.n_last <= config.tiles // split
                 and i.w_base % config.weight_words == 0
                 and (not (i.hold or i.acc) or i.nnb == i.ntx == i.nty == 1)
                 and (not i.acc or self.held == held)
                 and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r, i.a_m)
                 and on_circle(i.o_wrap, i.o_row, i.o_y, i.o_m)
                 and (not i.residual or on_circle(i.r_wrap, i.r_row, i.o_y, i.o_m)))
        if not legal:
            raise MachineFault(Fault.BAD_FIELD, index)

    def _weights(self, i: Instruction, index: int, spm: np.ndarray,
                 gn: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights [nb, n, K, L], float64 or patterns (uint16); bias [nb, n, L], INT32 or binary32;
        scale (binary32)."""
        lanes = self.config.lanes
        passes = i.nr * i.ns * i.ncb
        tile_words, param_words = passes * gn * lanes, 0 if i.hold else gn * PARAM_WORDS
        stream = i.nnb * (tile_words + param_words)
        if i.w_base + stream > self.config.spm_words:
            raise MachineFault(Fault.SPM_RANGE, index)
        words = spm[i.w_base:i.w_base + stream].reshape(i.nnb, tile_words + param_words, lanes)
        raw = np.ascontiguousarray(words[:, :tile_words])
        tiles = raw.view("<u2") if i.dtype else arith.operand(raw, i.w_signed, i.w_zp).astype(
            np.float64)
        tiles = tiles.reshape(i.nnb, passes, gn, lanes, -1).transpose(0, 2, 1, 4, 3)
        weights = tiles.reshape(i.nnb, gn, -1, lanes)
        if i.hold:
            none = np.zeros((i.nnb, gn, lanes))
            return weights, none.astype(np.int32), none.astype(np.float32)
        params = np.ascontiguousarray(words[:, tile_words:]).reshape(i.nnb, gn, 2, 4 * lanes)
        bias = np.ascontiguousarray(params[:, :, 0]).view(np.float32 if i.dtype else np.int32)
        scale = np.ascontiguousarray(params[:, :, 1]).view(np.float32)
        return weights, bias, arith.check_scale(scale)

    def _activations(self, i: Instruction, index: int, spm: np.ndarray, nb: int, ys: np.ndarray,
                     xs: np.ndarray) -> np.ndarray:
        """Operands [m, pixel, K]: integers after zero point and padding (float64), or patterns
        (uint16)."""
        lanes, per = self.config.lanes, self.config.granules
        m, r, s, cb, g = (np.arange(n) for n in (1 << i.m_split, i.nr, i.ns, i.ncb, per))
        col = (i.a_base + nb * i.a_nb + (xs * i.a_x)[:, None, None] + (s * i.a_s)[:, None]
               + cb * i.a_cb)                                                  # [x, s, cb]
        ix = modular(i.ix0 + (xs * i.ix_x)[:, None, None] + (s * i.ix_s)[:, None]
                     + (0 * g, g, g >> 1)[i.lane_dx],
                     IMAGE_BITS)
        in_x = (ix >= 0) & (ix < i.iw)                                         # [x, s, g]
        vectors = np.lib.stride_tricks.sliding_window_view(spm.reshape(-1), lanes)[::GRANULE]
        rows = max(1, CHUNK // (xs.size * i.nr * i.ns * i.ncb * lanes * m.size))
        parts = []
        for at in range(0, ys.size, rows):
            y = ys[at:at + rows]
            yr = (m * i.a_m)[:, None, None] + (y * i.a_y)[:, None] + r * i.a_r  # [m, y, r]
            row = wrap(i.a_row + yr, i.a_wrap)
            iy = modular(i.iy0 + (m * i.iy_m)[:, None, None] + (y * i.iy_y)[:, None] + r * i.iy_r,
                         IMAGE_BITS)
            in_y = (iy >= 0) & (iy < i.ih)
            addr = modular(row[:, :, None, :, None, None] + col[:, None],
                           GRANULE_BITS)                                       # [m,y,x,r,s,cb]
            inside = in_y[:, :, None, :, None, None] & in_x[:, None]           # [m,y,x,r,s,g]
            used = np.broadcast_to(inside.any(-1, keepdims=True), addr.shape)
            bad = used & ((addr < 0) | (addr >= len(vectors)))
            if bad.any():
                raise MachineFault(Fault.SPM_RANGE, index)
            raw = vectors[np.where(used, addr, 0)]                     # [m, y, x, r, s, cb, L]
            keep = np.repeat(inside, GRANULE, axis=-1)[:, :, :, :, :, None]
            if i.dtype:
                value = np.where(keep, raw, 0).view("<u2")
            else:
                value = np.where(keep, arith.operand(raw, i.a_signed, i.a_zp).astype(np.float64),
                                 i.pad)
            parts.append(value.reshape(m.size, y.size * xs.size, -1))
        return np.concatenate(parts, axis=1)

    def _write(self, i: Instruction, index: int, spm: np.ndarray, value: np.ndarray,
               overflow: np.ndarray, gn: int, ys: np.ndarray, xs: np.ndarray) -> None:
        """Add the residual to ``value`` [nb, m, n, pixel, column] and store it."""
        lanes, size = self.config.lanes, DType(i.o_type).size
        m = np.arange(1 << i.m_split)[:, None, None, None]
        n, y, x = np.arange(gn)[:, None, None], ys[:, None], xs
        block = np.arange(i.nnb)[:, None, None, None, None] * gn + n
        shape = (i.nnb, m.size, gn, ys.size, xs.size)
        valid = ((block - n < (i.nnb - 1) * gn) | (n < i.n_last)) & (
            (y < ys.size - 1) | (m < i.m_last))
        last = (block - n == (i.nnb - 1) * gn) & (n == i.n_last - 1)
        line = y * i.o_y + m * i.o_m

        def words(base: int, step: int, row: int, circle: int, size: int
                  ) -> tuple[np.ndarray, np.ndarray]:
            """Addresses of the words of each entry [..., size], and which of them are there."""
            word = np.arange(size)
            # the last block has words of the output only as far as it has channels
            there = valid[..., None] & (~last[..., None] | (
                word * DType(i.o_type).size < (DType(i.o_type).size - i.w_skip) * size))
            at = modular((base + x * i.o_x + wrap(row + line, circle))[..., None]
                         + (block[..., None] * size + word) * step, SPM_ADDRESS_BITS)
            at, there = (np.broadcast_to(v, (*shape, size)) for v in (at, there))
            if ((at < 0) | (at >= self.config.spm_words))[there].any():
                raise MachineFault(Fault.SPM_RANGE, index)
            return at, there

        value = value.reshape(*shape, lanes)
        exact = i.dtype == i.o_type == DType.INT8 and not (i.residual and i.r_type)
        if i.residual:
            at, there = words(i.r_base, i.r_n, i.r_row, i.r_wrap, DType(i.r_type).size)
            raw = spm[np.where(there, at, 0)].reshape(*shape, -1)
            if exact:
                b = arith.operand(raw, i.r_signed, i.r_zp)
                value = arith.add(value - i.z1, arith.scale_from_bits(i.scale_a), b,
                                  arith.scale_from_bits(i.scale_r), i.z2, i.lo2, i.hi2)
            else:
                b = to_float(raw, DType(i.r_type), i.r_signed, i.r_zp)
                with np.errstate(over="ignore", invalid="ignore"):
                    value = value + b * arith.factor_from_bits(i.scale_r)
        elif not exact:
            value = value + np.float32(0)
        at, there = words(i.o_base, i.o_n, i.o_row, i.o_wrap, size)
        if exact:
            spm[at[there]] = value.astype(np.uint8).reshape(*shape, size, lanes)[there]
            return
        result = convert(value, DType(i.o_type), i, i.z1, i.lo1, i.hi1)
        result = result.reshape(*shape, size, lanes)
        spm[at[there]] = result[there]
        written = np.broadcast_to(there[..., None], result.shape)[..., ::size]
        numbers = value if i.o_type == DType.INT8 else to_float(result, DType(i.o_type))
        self.exceptions.count(numbers.reshape(written.shape)[written],
                              overflow.reshape(written.shape)[written])
