# SPDX-License-Identifier: Apache-2.0
"""TENSOR: a convolution or matrix product over rectangles of output pixels, post-processed.

For every rectangle (ty, tx), group nb, kernel row r, kernel step s and channel block cb, and for
every pixel (y, x) of the rectangle, stream ``m`` reads one vector of L activation bytes; tile
``t = m * gn + n`` multiplies it with its L x L weights and adds the L sums to PSUM entry (y, x).
Which rectangle a pixel lies in does not change its result, so the model computes all pixels at
once; only an instruction that holds its PSUM bank, which has a single rectangle, leaves a trace.

Address of a vector, in granules of four bytes, with X = tx * nx + x and Y = ty * ny + y::

    a_base + X*a_x + s*a_s + cb*a_cb + nb*a_nb + wrap(a_row + Y*a_y + r*a_r + m*a_m)

Granule g of the vector is inside the image if ``0 <= ix0 + X*ix_x + s*ix_s + g*lane_dx < iw`` and
``0 <= iy0 + Y*iy_y + r*iy_r + m*iy_m < ih``; outside it delivers ``pad``. A vector that lies wholly
outside is not read, so only the others have to lie in the scratchpad. Addresses are computed modulo
the width of their fields, image coordinates modulo 2**18, both as two's complement.
"""

import numpy as np

from golden import arith
from golden.address import modular, on_circle, total, wrap
from golden.fault import MachineFault
from isa.config import GRANULE, PARAM_WORDS, Config
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, Fault, Instruction

GRANULE_BITS = SPM_ADDRESS_BITS + 2

CHUNK = 1 << 22
"""Activation bytes gathered at a time."""


class Tensor:
    """The tensor engine: ``psum`` (INT32 [tiles, pixels, L]) is the bank that HOLD keeps open, and
    ``held`` the rectangle in it (nx, ny and m_split of the last instruction), if it is open."""

    def __init__(self, config: Config):
        self.config = config
        self.psum = np.zeros((config.tiles, config.psum_depth, config.lanes), np.int32)
        self.held: tuple[int, int, int] | None = None

    def execute(self, i: Instruction, index: int, spm: np.ndarray) -> None:
        """Run one TENSOR on ``spm`` (uint8 [words, L]).

        Raises
        ------
        MachineFault
            BAD_FIELD or SPM_RANGE.
        """
        self._check(i, index)
        self.held = (i.nx, i.ny, i.m_split) if i.hold else None
        gn = self.config.tiles >> i.m_split
        ys, xs = total(i.ny, i.nty, i.ny_last), total(i.nx, i.ntx, i.nx_last)
        weights, bias, scale = self._weights(i, index, spm, gn)
        results: list[np.ndarray] = []
        acts = np.empty(0)
        for nb in range(i.nnb):
            if nb == 0 or i.a_nb:
                acts = self._activations(i, index, spm, nb, ys, xs)
            results.append(np.einsum("mpk,nkc->mnpc", acts, weights[nb], optimize=True))
        sums = np.stack(results).astype(np.int64)      # [nb, m, n, pixel, column]
        if i.acc:
            held = self.psum[:, :ys.size * xs.size].reshape(sums.shape)
            sums = sums + held
        sums = sums.astype(np.int32)
        if i.hold:
            self.psum[:, :ys.size * xs.size] = sums.reshape(self.config.tiles, -1,
                                                            self.config.lanes)
            return
        with np.errstate(over="ignore"):
            biased = sums + bias[:, None, :, None, :]
        value = arith.requantize(biased, scale[:, None, :, None, :], i.z1, i.lo1, i.hi1)
        self._write(i, index, spm, value, gn, ys, xs)

    def _check(self, i: Instruction, index: int) -> None:
        config = self.config
        counts = (i.nx, i.ny, i.ncb, i.ns, i.nr, i.nnb, i.ntx, i.nty, i.nx_last, i.ny_last)
        split = 1 << i.m_split
        legal = (0 not in counts and i.nx * i.ny <= config.psum_depth
                 and i.nx_last <= i.nx and i.ny_last <= i.ny
                 and split <= config.tiles and 1 <= i.m_last <= split
                 and 1 <= i.n_last <= config.tiles // split
                 and i.w_base % config.weight_words == 0
                 and (not (i.hold or i.acc) or i.nnb == i.ntx == i.nty == 1)
                 and (not i.acc or self.held == (i.nx, i.ny, i.m_split))
                 and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r, i.a_m)
                 and on_circle(i.o_wrap, i.o_row, i.o_y, i.o_m)
                 and (not i.residual or on_circle(i.r_wrap, i.r_row, i.o_y, i.o_m)))
        if not legal:
            raise MachineFault(Fault.BAD_FIELD, index)

    def _weights(self, i: Instruction, index: int, spm: np.ndarray,
                 gn: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights float64 [nb, n, K, L], bias INT32 and scale binary32 [nb, n, L]."""
        lanes = self.config.lanes
        passes = i.nr * i.ns * i.ncb
        tile_words, param_words = passes * gn * lanes, 0 if i.hold else gn * PARAM_WORDS
        stream = i.nnb * (tile_words + param_words)
        if i.w_base + stream > self.config.spm_words:
            raise MachineFault(Fault.SPM_RANGE, index)
        words = spm[i.w_base:i.w_base + stream].reshape(i.nnb, tile_words + param_words, lanes)
        tiles = arith.operand(words[:, :tile_words], i.w_signed, i.w_zp)
        tiles = tiles.reshape(i.nnb, passes, gn, lanes, lanes).transpose(0, 2, 1, 4, 3)
        weights = tiles.reshape(i.nnb, gn, passes * lanes, lanes).astype(np.float64)
        if i.hold:
            none = np.zeros((i.nnb, gn, lanes))
            return weights, none.astype(np.int32), none.astype(np.float32)
        params = np.ascontiguousarray(words[:, tile_words:]).reshape(i.nnb, gn, 2, 4 * lanes)
        bias = np.ascontiguousarray(params[:, :, 0]).view(np.int32)
        scale = np.ascontiguousarray(params[:, :, 1]).view(np.float32)
        return weights, bias, arith.check_scale(scale)

    def _activations(self, i: Instruction, index: int, spm: np.ndarray, nb: int, ys: np.ndarray,
                     xs: np.ndarray) -> np.ndarray:
        """Operands after zero point and padding, float64 [m, pixel, K]."""
        lanes, per = self.config.lanes, self.config.granules
        m, r, s, cb, g = (np.arange(n) for n in (1 << i.m_split, i.nr, i.ns, i.ncb, per))
        col = (i.a_base + nb * i.a_nb + (xs * i.a_x)[:, None, None] + (s * i.a_s)[:, None]
               + cb * i.a_cb)                                                  # [x, s, cb]
        ix = modular(i.ix0 + (xs * i.ix_x)[:, None, None] + (s * i.ix_s)[:, None] + g * i.lane_dx,
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
            value = arith.operand(raw, i.a_signed, i.a_zp).astype(np.float64)
            keep = np.repeat(inside, GRANULE, axis=-1)[:, :, :, :, :, None]
            value = np.where(keep, value, i.pad)
            parts.append(value.reshape(m.size, y.size * xs.size, -1))
        return np.concatenate(parts, axis=1)

    def _write(self, i: Instruction, index: int, spm: np.ndarray, value: np.ndarray, gn: int,
               ys: np.ndarray, xs: np.ndarray) -> None:
        """Add the residual to ``value`` [nb, m, n, pixel, column] and store it."""
        m = np.arange(1 << i.m_split)[:, None, None, None]
        n, y, x = np.arange(gn)[:, None, None], ys[:, None], xs
        block = np.arange(i.nnb)[:, None, None, None, None] * gn + n
        shape = (i.nnb, m.size, gn, ys.size, xs.size)
        valid = ((block - n < (i.nnb - 1) * gn) | (n < i.n_last)) & (
            (y < ys.size - 1) | (m < i.m_last))
        valid = np.broadcast_to(valid, shape)
        line = y * i.o_y + m * i.o_m

        def gather(base: int, step: int, row: int, circle: int) -> np.ndarray:
            at = modular(base + x * i.o_x + block * step + wrap(row + line, circle),
                         SPM_ADDRESS_BITS)
            at = np.broadcast_to(at, shape)
            if ((at < 0) | (at >= self.config.spm_words))[valid].any():
                raise MachineFault(Fault.SPM_RANGE, index)
            return at

        value = value.reshape(*shape, self.config.lanes)
        if i.residual:
            at = gather(i.r_base, i.r_n, i.r_row, i.r_wrap)
            b = arith.operand(spm[np.where(valid, at, 0)], i.r_signed, i.r_zp)
            value = arith.add(value - i.z1, arith.scale_from_bits(i.scale_a), b,
                              arith.scale_from_bits(i.scale_r), i.z2, i.lo2, i.hi2)
        at = gather(i.o_base, i.o_n, i.o_row, i.o_wrap)
        spm[at[valid]] = value.astype(np.uint8)[valid]
