# SPDX-License-Identifier: Apache-2.0
"""Random legal programs: the scratchpad is filled from DRAM, worked on, and stored whole."""

import numpy as np

from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import (ABSENT, QUEUES, WINDOW_KERNEL, WINDOW_STEPS, DType, Instruction,
                              Opcode, Region, VectorOp, WindowOp, assembled)
from isa.program import Program

LOAD_WORDS = 1 << 14

MARGIN = 8
"""Words before the activations, for vectors that begin left of the image."""


def bits(value: float) -> int:
    """The pattern of a binary32 number."""
    return int(np.float32(value).view(np.uint32))


def scale(rng: np.random.Generator, low: float, high: float) -> int:
    """A random binary32 pattern between 10**low and 10**high."""
    return bits(10.0 ** rng.uniform(low, high))


class Shape:
    """A random window over a random image, such that every address is in the scratchpad."""

    def __init__(self, rng: np.random.Generator, budget: int):
        def pick(low: int, high: int) -> int:
            return int(rng.integers(low, high + 1))

        while True:
            self.h, self.w, self.blocks = pick(1, 12), pick(1, 12), pick(1, 3)
            self.r, self.s = pick(1, min(5, self.h)), pick(1, min(5, self.w))
            self.dy, self.dx = pick(1, 3), pick(1, 3)
            self.sy, self.sx = pick(1, 3), pick(1, 3)
            self.py, self.px = pick(0, self.r - 1), pick(0, self.s - 1)
            self.oh = (self.h + 2 * self.py - self.dy * (self.r - 1) - 1) // self.sy + 1
            self.ow = (self.w + 2 * self.px - self.dx * (self.s - 1) - 1) // self.sx + 1
            self.pitch = self.w + pick(0, 2)
            self.size = self.blocks * self.h * self.pitch
            if self.oh > 0 and self.ow > 0 and self.size <= budget:
                return


def kinds(config: Config) -> list[DType]:
    """Types that a machine with floating point knows."""
    return [t for t in DType if t in (DType.INT8, DType.FP32) or t.name.lower() in config.dtypes]


def types(rng: np.random.Generator, config: Config) -> tuple[DType, DType, DType]:
    """Types of operands, output and residual of a TENSOR."""
    if not config.floats or rng.random() < 0.2:
        return DType.INT8, DType.INT8, DType.INT8
    every = kinds(config)
    dtype, output = DType(int(rng.choice(every[:-1]))), DType(int(rng.choice(every)))
    return dtype, output, DType(int(rng.choice([t for t in every if t.size <= output.size])))


def tensor(rng: np.random.Generator, config: Config) -> list[Instruction]:
    """One TENSOR, or two that share a reduction. The scratchpad's eighths: 0-1 activations, 2-4
    weights, 5 residual, 6-7 output."""
    eighth, per = config.spm_words // 8, config.granules
    lanes = config.lanes
    while True:
        g = Shape(rng, 2 * eighth - 2 * MARGIN)
        m_split = int(rng.integers(config.tiles.bit_length()))
        gm = 1 << m_split
        gn = config.tiles // gm
        groups = int(rng.integers(1, 4))
        dtype, o_type, r_type = types(rng, config)
        packed = per > dtype.size // 2 and rng.random() < 0.3
        # granules of a pixel, and pixels of a vector
        step = dtype.size if packed else per
        pixels = per // step
        ns, ncb = (-(-g.s // pixels), 1) if packed else (g.s, g.blocks)
        weights = groups * gn * (g.r * ns * ncb * lanes + 8)
        rows = -(-g.oh // gm)
        dx = 1 if packed else g.dx
        ow = (g.w + 2 * g.px - dx * (g.s - 1) - 1) // g.sx + 1
        out = groups * gn * g.oh * ow
        if weights <= 3 * eighth and out * r_type.size <= eighth \
                and out * o_type.size <= 2 * eighth - 64:
            break
    nx = int(rng.integers(1, min(ow, config.psum_depth) + 1))
    ny = int(rng.integers(1, min(rows, config.psum_depth // nx) + 1))
    ntx, nty = -(-ow // nx), -(-rows // ny)
    line = step * g.pitch + (-(step * g.pitch) % per)
    circle = g.h * line if rng.random() < 0.3 else 0
    start = 0 if not circle else line * int(rng.integers(g.h))
    row0 = start - g.py * line
    signed, zero = int(rng.integers(2)), int(rng.integers(-128, 128))
    fields = dict(
        nx=nx, ny=ny, ncb=ncb, ns=ns, nr=g.r, nnb=groups, ntx=ntx, nty=nty,
        nx_last=ow - (ntx - 1) * nx, ny_last=rows - (nty - 1) * ny,
        a_base=MARGIN * per - g.px * step, a_x=g.sx * step, a_s=dx * step * pixels,
        a_cb=g.h * line, a_row=row0 % circle if circle else row0,
        a_y=gm * g.sy * line, a_r=g.dy * line, a_m=g.sy * line, a_wrap=circle,
        ix0=-g.px, ix_x=g.sx, ix_s=dx * pixels, iy0=-g.py, iy_y=gm * g.sy,
        iy_r=g.dy, iy_m=g.sy, iw=g.w, ih=g.h, lane_dx=dtype.size if packed else 0,
        a_signed=signed, a_zp=zero if signed else zero + 128,
        pad=int(rng.integers(-256, 256)) if rng.random() < 0.2 else 0,
        w_ahead=int(rng.integers(2)), w_base=2 * eighth, w_signed=int(rng.integers(2)),
        w_zp=int(rng.integers(0, 128)), m_split=m_split, m_last=g.oh - (rows - 1) * gm,
        n_last=int(rng.integers(1, gn + 1)),
        o_base=6 * eighth, o_x=1, o_n=g.oh * ow, o_y=gm * ow, o_m=ow,
        r_base=5 * eighth, r_n=g.oh * ow, residual=int(rng.random() < 0.5),
        z1=int(rng.integers(-128, 128)), lo1=int(rng.integers(-128, -60)), hi1=127,
        r_signed=1, r_zp=int(rng.integers(-128, 128)), scale_a=scale(rng, -1.5, 0.3),
        scale_r=scale(rng, -1.5, 0.3), z2=int(rng.integers(-128, 128)), lo2=-128,
        hi2=int(rng.integers(60, 128)))
    if config.floats:
        fields |= dict(dtype=dtype, o_type=o_type, r_type=r_type,
                       w_type=int(dtype != DType.INT8 and rng.random() < 0.5),
                       w_skip=int(rng.integers(o_type.size)), **bounds(rng, -70, -40))
    if dtype or o_type or r_type:
        fields["scale_r"] |= int(rng.integers(2)) << 31
    if circle:
        for name in ("a_y", "a_r", "a_m"):
            fields[name] %= circle
    reach = fields["a_x"] * (ow - 1) + fields["a_s"] * (ns - 1) + (ncb - 1) * g.h * line
    if packed and (reach + per + g.h * line) > (2 * eighth - 2 * MARGIN) * per:
        return tensor(rng, config)
    if groups > 1 or ntx > 1 or nty > 1 or g.r < 2 or rng.random() < 0.3:
        return [Instruction(Opcode.TENSOR, fields)]
    first = int(rng.integers(1, g.r))
    words = first * ns * ncb * gn * (lanes >> fields.get("w_type", 0))
    row = fields["a_row"] + first * fields["a_r"]
    return [
        Instruction(Opcode.TENSOR, dict(fields, nr=first, hold=1)),
        Instruction(Opcode.TENSOR, dict(
            fields, nr=g.r - first, acc=1, a_row=row % circle if circle else row,
            iy0=-g.py + first * g.dy, w_base=fields["w_base"] + words))]


def bounds(rng: np.random.Generator, low: int, high: int) -> dict[str, int]:
    """Anchor and clip of a float instruction."""
    return {"anchor": int(rng.integers(low, high)), "lo_f": int(rng.choice([0, 0xFC00, 0xC500])),
            "hi_f": int(rng.choice([0x7C00, 0x4600]))}


def operation(rng: np.random.Generator, config: Config
              ) -> tuple[VectorOp, DType, DType, DType]:
    """Operation and types of a VECTOR."""
    if not config.floats or rng.random() < 0.2:
        return VectorOp(int(rng.integers(3))), DType.INT8, DType.INT8, DType.INT8
    while True:
        op = VectorOp(int(rng.integers(len(VectorOp))))
        a, b, o = (DType(int(t)) for t in rng.choice(kinds(config), size=3))
        if (op is VectorOp.SUM and a is DType.FP32) or not (a or o):
            continue
        return op, a, b, o


def vector(rng: np.random.Generator, config: Config) -> Instruction:
    """One VECTOR: operands in eighths 0-1 and 5, output in 6-7."""
    eighth = config.spm_words // 8
    while True:
        g = Shape(rng, 2 * eighth)
        op, a, b, o = operation(rng, config)
        if op in (VectorOp.ADD, VectorOp.MUL) or op.function:
            g.r = g.s = g.sy = g.sx = 1
            g.py = g.px = 0
            g.oh, g.ow = g.h, g.w
        if g.blocks * g.oh * g.ow <= eighth:
            break
    signs = [int(rng.integers(2)) << 31 if a or o else 0 for _ in range(2)]
    types = dict(a_type=a, b_type=b, o_type=o, plus=int(op.function and rng.integers(2)),
                 fold=int(op in (VectorOp.MAX, VectorOp.SUM) and a and o and rng.integers(2)),
                 **bounds(rng, -20, -5)) if config.floats else {}
    return Instruction(Opcode.VECTOR, dict(
        types, vop=op, nx=g.ow, ny=g.oh, ncb=g.blocks, ns=g.s, nr=g.r, a_base=-g.px,
        a_row=-g.py * g.pitch, a_x=g.sx, a_s=g.dx, a_cb=g.h * g.pitch, a_y=g.sy * g.pitch,
        a_r=g.dy * g.pitch, ix0=-g.px, ix_x=g.sx, ix_s=g.dx, iy0=-g.py, iy_y=g.sy, iy_r=g.dy,
        iw=g.w, ih=g.h, b_base=5 * eighth, b_x=1, b_y=g.ow, b_cb=g.oh * g.ow,
        o_base=6 * eighth, o_x=1, o_y=g.ow, o_cb=g.oh * g.ow, a_signed=int(rng.integers(2)),
        a_zp=int(rng.integers(0, 128)), b_signed=1, b_zp=int(rng.integers(-128, 128)),
        scale_a=scale(rng, -1.5, 0.3) | signs[0], scale_b=scale(rng, -1.5, 0.3) | signs[1],
        z=int(rng.integers(-128, 128)), lo=-128, hi=127))


def window(rng: np.random.Generator, config: Config) -> Instruction:
    """One WINDOW. The scratchpad's eighths: 0-1 activations, 2-4 weights, 6-7 output."""
    eighth = config.spm_words // 8

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    m_split = pick(0, config.tiles.bit_length() - 1)
    gm = 1 << m_split
    gn = config.tiles // gm
    while True:
        h, w, blocks = pick(1, 12), pick(1, 12), pick(1, 2 * gn + 1)
        r, s, stride = pick(1, WINDOW_KERNEL), pick(1, WINDOW_KERNEL), pick(1, 4)
        dy, dx, sy = pick(1, 2), pick(1, 2), pick(1, 3)
        py, px = pick(0, (r - 1) * dy), pick(0, (s - 1) * dx)
        oh = (h + 2 * py - dy * (r - 1) - 1) // sy + 1
        ow = (w + 2 * px - dx * (s - 1) - 1) // (stride * dx) + 1
        ng = (s - 1) // stride // config.window_taps + 1
        pitch = w + pick(0, 2)
        dtype = DType(int(rng.choice(kinds(config)[:-1]))) if config.floats else DType.INT8
        words = stride * r * ng * config.window_taps + param_words(dtype)
        if (min(oh, ow) > 0 and stride * r * ng <= WINDOW_STEPS and blocks * words <= 3 * eighth
                and blocks * h * pitch <= 2 * eighth - MARGIN and blocks * oh * ow <= 2 * eighth):
            break
    line, rows = pitch, -(-oh // gm)
    circle = h * line if rng.random() < 0.3 else 0
    row0 = (line * pick(0, h - 1) if circle else 0) - py * line
    signed, zero = pick(0, 1), pick(-128, 127)
    fields = dict(
        wop=WindowOp(pick(0, 1)), nx=ow, ny=rows, nnb=-(-blocks // gn), ns=s, nr=r, stride=stride,
        ng=ng, a_base=MARGIN - px, a_x=dx, a_n=h * line, a_row=row0, a_y=gm * sy * line,
        a_r=dy * line, a_m=sy * line, a_wrap=circle, ix0=-px, ix_x=dx, iy0=-py, iy_y=gm * sy,
        iy_r=dy, iy_m=sy, iw=w, ih=h, a_signed=signed, a_zp=zero if signed else zero + 128,
        w_ahead=pick(0, 1), w_base=2 * eighth, w_n=words if rng.random() < 0.8 else 0,
        w_signed=pick(0, 1), w_zp=pick(0, 127), m_split=m_split, m_last=oh - (rows - 1) * gm,
        n_last=(blocks - 1) % gn + 1, o_base=6 * eighth, o_x=1, o_n=oh * ow, o_y=gm * ow, o_m=ow,
        z=pick(-128, 127), lo=pick(-128, -60), hi=pick(60, 127))
    if config.floats:
        fields |= dict(dtype=dtype, **bounds(rng, -70, -40))
    if circle:
        for name in ("a_row", "a_y", "a_r", "a_m"):
            fields[name] %= circle
    return Instruction(Opcode.WINDOW, fields)


def param_words(dtype: int) -> int:
    """Words of a WINDOW's parameters for a channel block."""
    return FLOAT_PARAM_WORDS if dtype else PARAM_WORDS


def parameters(i: Instruction, config: Config) -> tuple[list[int], list[int]]:
    """Scratchpad words that hold biases, and those that hold scales, of an instruction."""
    biases: list[int] = []
    scales: list[int] = []
    if i.opcode is Opcode.TENSOR and not i.hold:
        tiles, at = config.tiles >> i.m_split, i.w_base
        for _ in range(i.nnb):
            at += i.nr * i.ns * i.ncb * tiles * (config.lanes >> i.w_type)
            for _ in range(tiles):
                biases += range(at, at + PARAM_WORDS // 2)
                scales += range(at + PARAM_WORDS // 2, at + PARAM_WORDS)
                at += PARAM_WORDS
    if i.opcode is Opcode.WINDOW:
        for b in range(((i.nnb - 1) * config.tiles >> i.m_split) + i.n_last):
            at = i.w_base + b * i.w_n + i.stride * i.nr * i.ng * config.window_taps
            half = param_words(i.dtype) // 2
            biases += range(at, at + half)
            scales += range(at + half, at + 2 * half)
    return biases, scales


def masks(rng: np.random.Generator, i: Instruction, config: Config, spm: np.ndarray) -> None:
    """Half of a WINDOW's weights that are no weights."""
    steps = i.stride * i.nr * i.ng * config.window_taps
    for b in range(((i.nnb - 1) * config.tiles >> i.m_split) + i.n_last):
        words = spm[i.w_base + b * i.w_n:][:steps]
        if i.dtype:
            patterns = words.view(np.uint16)
            patterns[rng.random(patterns.shape) < 0.5] = ABSENT
        else:
            words[rng.random(words.shape) < 0.5] = i.w_zp


def contents(rng: np.random.Generator, config: Config,
             instructions: list[Instruction]) -> np.ndarray:
    """A whole scratchpad (uint8 [words, L]) of random bytes, but for the instructions' biases and
    scales, which are such that few results saturate. Scales come last, since one instruction's may
    lie where another's biases do."""
    spm = rng.integers(0, 256, (config.spm_words, config.lanes), np.uint8)
    per = config.lanes // 4
    if config.floats:
        # most words are numbers of moderate size in both 16-bit types, few have NaN or infinities
        near = rng.random(config.spm_words) < 0.97
        spm[near] = (spm[near].view(np.uint16) & 0x87FF | 0x3800).view(np.uint8)
        finite = rng.random((config.spm_words, config.lanes // 2)) < 0.999
        patterns = spm.view(np.uint16)
        patterns[finite] &= np.where(patterns[finite] >> 10 & 31 == 31, 0xBFFF, 0xFFFF).astype(
            np.uint16)
        patterns[rng.random(patterns.shape) < 0.1] = ABSENT
    weighted = [i for i in instructions if i.opcode in (Opcode.TENSOR, Opcode.WINDOW)]
    maxima = [i.opcode is Opcode.WINDOW and i.wop == WindowOp.MAX for i in weighted]
    for i, maximum in zip(weighted, maxima, strict=True):
        biases, _ = parameters(i, config)
        reach = 99 if maximum else 9999
        values = rng.integers(-reach, reach, len(biases) * per, np.int32)
        if i.dtype:
            values = (values / 1000).astype(np.float32).view(np.int32)
        spm[biases] = values.view(np.uint8).reshape(-1, config.lanes)
        if maximum:
            masks(rng, i, config, spm)
    for i, maximum in zip(weighted, maxima, strict=True):
        _, scales = parameters(i, config)
        power = rng.uniform(-3.5, -2.5, len(scales) * per) + (3 if maximum or i.dtype else 0)
        spm[scales] = (10 ** power).astype(np.float32).view(np.uint8).reshape(-1, config.lanes)
    return spm


def whole(config: Config, region: Region, opcode: Opcode) -> list[Instruction]:
    """LOADs or STOREs of the whole scratchpad."""
    words = config.spm_words
    return [Instruction(opcode, dict(region=region, dram=at * config.word_bytes, spm=at,
                                     n0=min(LOAD_WORDS, words - at), n1=1, n2=1, n3=1))
            for at in range(0, words, LOAD_WORDS)]


def chain(instructions: list[Instruction]) -> None:
    """Let every instruction wait for all those before it."""
    count = dict.fromkeys(QUEUES, 0)
    for i in instructions:
        if i.opcode is Opcode.END:
            continue
        i.fields["wait_mask"] = sum(1 << k for k, n in enumerate(count.values()) if n)
        i.fields.update({f"wait_{q}": n for q, n in count.items() if n})
        count[i.opcode.name.lower()] += 1


def program(config: Config, instructions: list[Instruction]) -> Program:
    """The instructions between a load and a store of the whole scratchpad, one after another."""
    everything = [*whole(config, Region.INPUT, Opcode.LOAD), *instructions,
                  *whole(config, Region.OUTPUT, Opcode.STORE), Instruction(Opcode.END)]
    chain(everything)
    image = assembled(everything)
    sizes = {Region.PROGRAM: len(image), Region.WORKSPACE: 0, Region.INPUT: config.spm_bytes,
             Region.OUTPUT: config.spm_bytes}
    return Program(name="random", config=config, image=image,
                   instruction_count=len(everything), inputs=[], outputs=[], region_sizes=sizes)
