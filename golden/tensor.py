# SPDX-License-Identifier: Apache-2.0
"""TENSOR: a convolution or matrix product over rectangles of output pixels, post-processed.

For every rectangle (ty, tx), group nb, kernel row r, kernel step s and channel block cb, and for
every pixel (y, x) of the rectangle, stream ``m`` reads one vector of L activation bytes; tile
``t = m * gn + n`` multiplies it with its L x L weights and adds the L sums to PSUM entry (y, x).
Which rectangle a pixel lies in does not change its result, so the model computes all pixels at
once; only an instruction that holds its PSUM bank, which has a single rectangle, leaves a trace.

With a float ``dtype`` a vector has L / 2 activations of two bytes, a column as many weights, and
PSUM entries are exact sums (:mod:`golden.exact`). With ``w_type`` 1 these weights are INT8 less
their zero point, whose products are exact with FP16; with BF16 they overflow as those of
significands whose lowest bit weighs 1.

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

from typing import NamedTuple

import numpy as np

from golden import arith, exact
from golden.address import checked, grid, in_image, on_circle, wrap
from golden.exact import Sums
from golden.fault import MachineFault
from golden.formats import to_float
from golden.results import Exceptions, convert, known
from isa.config import GRANULE, PARAM_WORDS, REDUCTION, Config
from isa.instructions import SPM_ADDRESS_BITS, DType, Fault, Instruction

GRANULE_BITS = SPM_ADDRESS_BITS + 2

SINGLE = 256
"""Most products of nine-bit operands whose sum is exact in binary32."""


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


def all_integer(i: Instruction) -> bool:
    """Whether activations, output and residual are INT8."""
    return not (i.dtype or i.o_type or (i.residual and i.r_type))


class Extent(NamedTuple):
    """Pixel streams, tiles of a stream, and output pixels: row ``y * gm + m``, column x."""

    gm: int
    gn: int
    ny: int
    nx: int


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
        gm = 1 << i.m_split
        e = Extent(gm, self.config.tiles // gm, (i.nty - 1) * i.ny + i.ny_last,
                   (i.ntx - 1) * i.nx + i.nx_last)
        weights, bias, scale = self._weights(i, index, spm, e)
        compute = self._exact if i.dtype else self._integers
        value = compute(i, index, spm, weights, bias, scale, e)
        if value is not None:
            self._write(i, index, spm, value[0], value[1], e)

    def _entries(self, kept: np.ndarray, e: Extent) -> np.ndarray:
        """The bank [tiles, pixels, L] in the order of an instruction's sums, [n, y, m, x, L]."""
        return kept[:, :e.ny * e.nx].reshape(e.gm, e.gn, e.ny, e.nx, -1).transpose(1, 2, 0, 3, 4)

    def _integers(self, i: Instruction, index: int, spm: np.ndarray, weights: np.ndarray,
                  bias: np.ndarray, scale: np.ndarray, e: Extent
                  ) -> tuple[np.ndarray, None] | None:
        """INT8 sums, requantized (INT32) or, where a float follows, scaled (binary32), [nb, n, y,
        m, x, column], and no overflows; None if they stay in the bank."""
        products = np.matmul(self._activations(i, index, spm, weights.dtype, e), weights)
        sums = products.astype(np.int32 if weights.dtype == np.float32 else np.int64).reshape(
            i.nnb, e.gn, e.ny, e.gm, e.nx, -1)
        if i.acc:
            sums += self._entries(self.psum, e)
        if i.hold:
            self._entries(self.psum, e)[:] = sums[0]
            return None
        biased = (sums + bias).astype(np.int32, copy=False)
        if not all_integer(i):
            return biased.astype(np.float32) * scale, None
        return arith.requantize(biased, scale, i.z1, i.lo1, i.hi1), None

    def _exact(self, i: Instruction, index: int, spm: np.ndarray, weights: np.ndarray,
               bias: np.ndarray, scale: np.ndarray, e: Extent
               ) -> tuple[np.ndarray, np.ndarray] | None:
        """Float sums, scaled and biased (binary32 [nb, n, y, m, x, column]), and which of them
        overflowed; None if they stay in the bank."""
        found, beyond = exact.products(self._activations(i, index, spm, np.dtype(np.uint16), e),
                                       weights, DType(i.dtype), i.anchor)
        *parts, overflow = (v.reshape(i.nnb, e.gn, e.ny, e.gm, e.nx, -1)
                            for v in (*found.parts(), beyond))
        sums, bank = Sums(*parts), (*self.sums.parts(), self.overflow)
        if i.acc:
            *held, beyond = (self._entries(v, e) for v in bank)
            sums, overflow = sums + Sums(*held), overflow | beyond
        if i.hold:
            for kept, new in zip(bank, (*sums.parts(), overflow), strict=True):
                self._entries(kept, e)[:] = new[0]
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            value = sums.to_float(exact.unit_of(DType(i.dtype), i.anchor))
            return value * scale + bias, overflow

    def _check(self, i: Instruction, index: int) -> None:
        config = self.config
        counts = (i.nx, i.ny, i.ncb, i.ns, i.nr, i.nnb, i.ntx, i.nty, i.nx_last, i.ny_last)
        split = 1 << i.m_split
        passes = i.nr * i.ns * i.ncb + (self.passes if i.acc else 0)
        held = Held(*(getattr(i, f) for f in Held._fields))
        scales = np.array([i.scale_a, i.scale_r], np.uint32).view(np.float32)
        legal = (0 not in counts and i.nx * i.ny <= config.psum_depth
                 and i.dtype != DType.FP32 and known(config, i.dtype, i.o_type, i.r_type)
                 and (not i.residual or DType(i.r_type).size <= DType(i.o_type).size)
                 and (not i.residual or (arith.is_scale(scales) if all_integer(i)
                                         else arith.is_factor(scales[1:])))
                 and i.w_type <= bool(i.dtype)
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

    def _weights(self, i: Instruction, index: int, spm: np.ndarray, e: Extent
                 ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights [nb, n, K, L], integers (binary32 or 64, whichever holds their sums; INT16 for
        float activations) or patterns (uint16); bias, INT32 or binary32, and scale (binary32),
        [nb, n, 1, 1, 1, L]."""
        lanes, beat = self.config.lanes, self.config.weight_words
        passes = i.nr * i.ns * i.ncb
        depth = lanes >> i.w_type                            # bytes of a column's weights
        tile_words, param_words = passes * e.gn * depth, 0 if i.hold else e.gn * PARAM_WORDS
        stream = i.nnb * (tile_words + param_words)
        if i.w_base + stream > self.config.spm_words:
            raise MachineFault(Fault.SPM_RANGE, index)
        words = np.asarray(spm)[i.w_base:i.w_base + stream].reshape(i.nnb, -1, lanes)
        # a word of two columns has the first one's weights in front, and they are a beat apart
        raw = np.ascontiguousarray(words[:, :tile_words].reshape(
            i.nnb, passes, e.gn, -1, beat, lanes // depth, depth).transpose(
                0, 2, 3, 5, 4, 1, 6)).reshape(i.nnb, e.gn, lanes, -1)
        kind = (np.int16 if i.w_type else np.float32 if passes * lanes <= SINGLE else np.float64)
        weights = (raw.view("<u2") if i.dtype and not i.w_type
                   else arith.operand(raw, i.w_signed, i.w_zp, kind)).swapaxes(2, 3)
        if i.hold:
            return weights, np.zeros(0), np.zeros(0)
        params = np.ascontiguousarray(words[:, tile_words:]).reshape(
            i.nnb, e.gn, 2, 1, 1, 1, 4 * lanes)
        bias = params[:, :, 0].view(np.float32 if i.dtype else np.int32)
        scale = params[:, :, 1].view(np.float32)
        if not arith.is_scale(scale):
            raise MachineFault(Fault.BAD_FIELD, index)
        return weights, bias, scale

    def _activations(self, i: Instruction, index: int, spm: np.ndarray, dtype: np.dtype, e: Extent
                     ) -> np.ndarray:
        """Operands [nb, 1, pixel, K], of one ``nb`` if all have the same: integers after zero point
        and padding, or patterns."""
        per, groups = self.config.granules, i.nnb if i.a_nb else 1
        row = grid(i.a_row, (e.ny, i.a_y), (e.gm, i.a_m), (1, 0), (i.nr, i.a_r), (1, 0), (1, 0))
        col = grid(i.a_base, (groups, i.a_nb), (1, 0), (1, 0), (e.nx, i.a_x), (1, 0),
                   (i.ns, i.a_s), (i.ncb, i.a_cb))
        in_y = in_image(i.ih, i.iy0, (e.ny, i.iy_y), (e.gm, i.iy_m), (1, 0), (i.nr, i.iy_r),
                        (1, 0), (1, 0))
        in_x = in_image(i.iw, i.ix0, (e.nx, i.ix_x), (1, 0), (i.ns, i.ix_s),
                        (per if i.lane_dx else 1, 1))
        if i.lane_dx == 2:
            in_x = in_x[..., np.arange(per) >> 1]
        inside = in_y & in_x                                              # [y, m, x, r, s, g]
        used = inside.any(-1, keepdims=True) if i.lane_dx else inside
        vectors = np.ndarray((len(spm) - 1) * per + 1, f"V{self.config.lanes}", np.asarray(spm),
                             0, GRANULE)
        at = checked(wrap(row, i.a_wrap) + col, len(vectors), index, used, GRANULE_BITS)
        raw = vectors[at].view(np.uint8)                        # [nb, y, m, x, r, s, cb * L]
        value = (raw.view(dtype) if i.dtype else
                 arith.operand(raw, i.a_signed, i.a_zp, dtype.type))
        if not inside.all():
            outside = ~inside.reshape(-1, inside.shape[-1])
            value.reshape(groups, len(outside), i.ncb, outside.shape[-1], -1).swapaxes(2, 3)[
                :, outside] = 0 if i.dtype else i.pad
        return value.reshape(groups, 1, e.ny * e.gm * e.nx, -1)

    def _write(self, i: Instruction, index: int, spm: np.ndarray, value: np.ndarray,
               overflow: np.ndarray | None, e: Extent) -> None:
        """Add the residual to ``value`` [nb, n, y, m, x, column] and store it, but for what lies
        behind the last row, block and word."""
        o_type, r_type = DType(i.o_type), DType(i.r_type)
        blocks, rows = (i.nnb - 1) * e.gn + i.n_last, (e.ny - 1) * e.gm + i.m_last
        lanes = self.config.lanes
        value = value.reshape(-1, e.ny * e.gm, e.nx, lanes)[:blocks, :rows]

        def words(base: int, step: int, first: int, circle: int, size: int
                  ) -> tuple[np.ndarray, np.ndarray]:
            """Addresses [block, row, x, word] of ``size`` words a block, and which are there: the
            last block has words of the output only as far as it has channels."""
            there = np.ones((blocks, 1, 1, size), bool)
            there[-1, ..., size - i.w_skip * size // o_type.size:] = False
            row = wrap(grid(first, (e.ny, i.o_y), (e.gm, i.o_m)), circle).reshape(-1, 1, 1)[:rows]
            at = grid(base, (blocks, size * step), (1, 0), (e.nx, i.o_x), (size, step)) + row
            return checked(at, len(spm), index, there), there

        exact = all_integer(i)
        if i.residual:
            at, _ = words(i.r_base, i.r_n, i.r_row, i.r_wrap, r_type.size)
            raw = np.asarray(spm).take(at, axis=0).reshape(*value.shape[:-1], -1)
            if exact:
                b = arith.operand(raw, i.r_signed, i.r_zp)
                value = arith.add(value - i.z1, arith.from_bits(i.scale_a), b,
                                  arith.from_bits(i.scale_r), i.z2, i.lo2, i.hi2)
            else:
                b = to_float(raw, r_type, i.r_signed, i.r_zp)
                with np.errstate(over="ignore", invalid="ignore"):
                    value = value + b * arith.from_bits(i.scale_r)
        elif not exact:
            value = value + np.float32(0)
        at, there = words(i.o_base, i.o_n, i.o_row, i.o_wrap, o_type.size)
        if exact:
            spm[at[..., 0]] = value.astype(np.uint8)
            return
        there = np.broadcast_to(there, at.shape)
        result = convert(value, o_type, i, i.z1, i.lo1, i.hi1).reshape(*at.shape, -1)[there]
        spm[at[there]] = result
        self.exceptions.count(value if i.o_type == DType.INT8 else to_float(result, o_type))
        if overflow is not None:
            overflow = overflow.reshape(-1, e.ny * e.gm, e.nx, lanes)[:blocks, :rows]
            self.exceptions.overflow += int(overflow.reshape(*at.shape, -1)[there].sum())
