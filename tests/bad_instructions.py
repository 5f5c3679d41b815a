# SPDX-License-Identifier: Apache-2.0
"""The rules of the instructions, one by one: for each a legal instruction and its neighbor that
breaks this rule alone. Golden model and RTL are both tested with the table.

Every word of the scratchpad holds the binary32 number 1, so that every scale is legal, but for one
word behind :data:`MARKED` for each of :data:`ILLEGAL`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import DType, Instruction, Opcode, VectorOp
from isa.presets import PRESETS

ONE = int(np.float32(1).view(np.uint32))

LOW, HIGH = (int(np.float32(v).view(np.uint32)) for v in (2.0 ** -100, 2.0 ** 32))
MINUS = 1 << 31
ILLEGAL = {"0": 0, "below 2^-100": LOW - 1, "2^32": HIGH, "infinite": 0x7F80_0000,
           "NaN": 0x7FC0_0000, "minus 0": MINUS, "-2^32": MINUS | HIGH}
"""Patterns of scales that are legal nowhere."""
NEGATIVE = {"-1": MINUS | ONE, "-2^-100": MINUS | LOW}
"""Those that are where something is not INT8."""
MARKED, APART = 1024, 64
"""Word of the first illegal scale, and words from one to the next."""

INTEGERS = Config(name="integers", lanes=8, tiles=2, spm_bytes=32768, spm_banks=16, psum_depth=32,
                  ppu_lanes=2, weight_words=2, bus_bytes=8, vector_lanes=4, window_lanes=2)
"""INT8 alone, with two tiles and weights at an alignment."""

FLOATS = PRESETS["tiny_fp"]

TENSOR = {"nx": 1, "ny": 1, "ncb": 1, "ns": 1, "nr": 1, "nnb": 1, "ntx": 1, "nty": 1, "nx_last": 1,
          "ny_last": 1, "m_last": 1, "n_last": 1, "iw": 1, "ih": 1, "a_base": 64, "w_base": 256,
          "o_base": 512, "r_base": 768, "scale_a": ONE, "scale_r": ONE}
WINDOW = {"nx": 1, "ny": 1, "nnb": 1, "ns": 1, "nr": 1, "stride": 1, "ng": 1, "m_last": 1,
          "n_last": 1, "iw": 1, "ih": 1, "a_base": 64, "w_base": 256, "o_base": 512}
VECTOR = {"vop": VectorOp.MAX, "nx": 1, "ny": 1, "ncb": 1, "ns": 1, "nr": 1, "iw": 1, "ih": 1,
          "a_base": 64, "b_base": 128, "o_base": 512, "scale_a": ONE, "scale_b": ONE}
BASE = {Opcode.TENSOR: TENSOR, Opcode.WINDOW: WINDOW, Opcode.VECTOR: VECTOR}


@dataclass(frozen=True)
class Rule:
    """A rule of an opcode on a machine: what a ``legal`` instruction and a ``bad`` one change in
    the opcode's simplest; ``before``: the same of the instruction in front, if there is one."""

    name: str
    config: Config
    opcode: Opcode
    bad: dict[str, int]
    legal: dict[str, int]
    before: dict[str, int] | None = None

    def __str__(self) -> str:
        return f"{self.opcode.name} {self.name}"

    def program(self, changes: dict[str, int]) -> list[Instruction]:
        """The instruction with its changes, behind the one before."""
        front = [] if self.before is None else [self.before]
        made = [Instruction(self.opcode, {**BASE[self.opcode], **c}) for c in (*front, changes)]
        return [Instruction.decode(i.encode()) for i in made]


def counts(config: Config, opcode: Opcode, *names: str) -> Iterator[Rule]:
    for name in names:
        yield Rule(f"{name} is not zero", config, opcode, {name: 0}, {name: 1})


def circle(config: Config, opcode: Opcode, side: str, *rows: str, **more: int) -> Iterator[Rule]:
    """Row positions and steps lie on their circle."""
    for row in rows:
        on = {f"{side}_wrap": 8, **more}
        yield Rule(f"{row} on the circle of {side}", config, opcode, {**on, row: 8}, {**on, row: 7})
        yield Rule(f"{row} not before the circle of {side}", config, opcode, {**on, row: -1},
                   {f"{side}_wrap": 0, **more, row: -1})


def field_scales(config: Config, opcode: Opcode, name: str, use: dict[str, int],
                 unused: dict[str, int] | None = None, negative: bool = False) -> Iterator[Rule]:
    """Field ``name`` is a legal scale, of either sign if ``negative``, where it is in ``use``; it
    may be anything in the instruction ``unused``, if there is one."""
    for text, bits in (ILLEGAL if negative else ILLEGAL | NEGATIVE).items():
        yield Rule(f"{name} is not {text}", config, opcode, {**use, name: bits},
                   use if unused is None else {**unused, name: bits})
    for text, bits in {"2^-100": LOW, "less than 2^32": HIGH - 1,
                       **(NEGATIVE if negative else {})}.items():
        yield Rule(f"{name} may be {text}", config, opcode, {**use, name: ILLEGAL["0"]},
                   {**use, name: bits})


def channel_scales(config: Config, opcode: Opcode, weights: int, words: int, **use: int
                   ) -> Iterator[Rule]:
    """Each word of scales, the second half of so many ``words`` of parameters behind as many of
    ``weights``. Weights stay aligned."""
    for k, text in enumerate(ILLEGAL | NEGATIVE):
        pair = words // 2 + 2 * (k // 2 % (words // 4))
        yield Rule(f"a channel's scale is not {text}", config, opcode,
                   {**use, "w_base": MARKED + k * APART - weights - pair}, use)


def tensor() -> Iterator[Rule]:
    c, op = INTEGERS, Opcode.TENSOR

    def rule(name: str, bad: dict[str, int], legal: dict[str, int],
             before: dict[str, int] | None = None) -> Rule:
        return Rule(name, c, op, bad, legal, before)

    yield from counts(c, op, "nx_last", "ny_last", "ncb", "ns", "nr", "nnb", "ntx", "nty", "m_last",
                      "n_last")
    for n in ("nx", "ny"):
        yield rule(f"{n} is not zero", {n: 0, f"{n}_last": 0}, {})
        yield rule(f"{n}_last is no more than {n}", {n: 2, f"{n}_last": 3}, {n: 2, f"{n}_last": 2})
    yield rule("entries fit in a PSUM bank", {"nx": 11, "ny": 3, "nx_last": 11, "ny_last": 3},
               {"nx": 8, "ny": 4, "nx_last": 8, "ny_last": 4})
    yield rule("no more pixel streams than tiles", {"m_split": 2}, {"m_split": 1})
    yield rule("m_last is no more than the streams", {"m_last": 2}, {"m_last": 2, "m_split": 1})
    yield rule("n_last is no more than the tiles of a stream", {"n_last": 3}, {"n_last": 2})
    yield rule("n_last with two streams", {"n_last": 2, "m_split": 1}, {"n_last": 1, "m_split": 1})
    yield rule("weights are aligned", {"w_base": 257}, {"w_base": 258})
    for n in ("nnb", "ntx", "nty"):
        for flag, front in (("hold", None), ("acc", {"hold": 1})):
            yield rule(f"{flag} is one rectangle, {n}", {flag: 1, n: 2}, {flag: 1}, front)
    yield rule("acc needs a held bank", {"acc": 1}, {})
    two = {"nx": 2, "nx_last": 2}
    yield rule("acc of the held columns", {**two, "acc": 1}, {"acc": 1}, {"hold": 1})
    yield rule("acc of the held rows", {"ny": 2, "ny_last": 2, "acc": 1}, {"acc": 1}, {"hold": 1})
    streams = {"m_split": 1, "m_last": 2}
    yield rule("acc of the held last row", {**streams, "m_last": 1, "acc": 1},
               {**streams, "acc": 1}, {**streams, "hold": 1})
    yield rule("acc of the held last group", {"acc": 1}, {"n_last": 2, "acc": 1},
               {"n_last": 2, "hold": 1})
    yield rule("acc of the held streams", {"m_split": 1, "acc": 1}, {"acc": 1}, {"hold": 1})
    yield from circle(c, op, "a", "a_row", "a_y", "a_r", "a_m")
    yield from circle(c, op, "o", "o_row", "o_y", "o_m")
    yield from circle(c, op, "r", "r_row", "o_y", "o_m", residual=1)
    yield rule("packed granules are one column apart", {"lane_dx": 2}, {"lane_dx": 1})
    for n in ("dtype", "o_type", "r_type"):
        yield rule(f"the machine has the {n}", {n: DType.FP16}, {n: DType.INT8})
    for n in ("scale_a", "scale_r"):
        yield from field_scales(c, op, n, {"residual": 1}, {})
    yield from channel_scales(c, op, c.tiles * c.lanes, PARAM_WORDS)


def tensor_floats() -> Iterator[Rule]:
    c, op, half = FLOATS, Opcode.TENSOR, {"dtype": DType.FP16, "o_type": DType.FP16}

    def rule(name: str, bad: dict[str, int], legal: dict[str, int],
             before: dict[str, int] | None = None) -> Rule:
        return Rule(name, c, op, {**half, **bad}, {**half, **legal}, before)

    yield rule("no products of FP32", {"dtype": DType.FP32}, {})
    yield rule("a residual no larger than the output", {"residual": 1, "r_type": DType.FP32},
               {"residual": 1, "r_type": DType.FP16})
    yield rule("an INT8 output has an INT8 residual",
               {"o_type": DType.INT8, "residual": 1, "r_type": DType.BF16},
               {"o_type": DType.INT8, "residual": 1, "r_type": DType.INT8})
    for o_type in (DType.INT8, DType.FP16):
        yield rule(f"w_skip leaves a word of {o_type.name}",
                   {"o_type": o_type, "w_skip": o_type.size},
                   {"o_type": o_type, "w_skip": o_type.size - 1})
    yield rule("INT8 weights of INT8 activations have no type of their own",
               {"dtype": DType.INT8, "w_type": 1}, {"w_type": 1})
    yield rule("weights of another type are INT8", {"w_type": 2}, {"w_type": 1})
    yield rule("packed pairs of granules", {"lane_dx": 3}, {"lane_dx": 2})
    yield rule("as many products as a sum holds", {"nr": 128, "ns": 129}, {})
    yield rule("as many products with those held", {"acc": 1, "nr": 128, "ns": 128},
               {"acc": 1}, {**half, "hold": 1})
    yield rule("acc of the held type", {"acc": 1, "dtype": DType.BF16}, {"acc": 1},
               {**half, "hold": 1})
    yield rule("acc of the held anchor", {"acc": 1, "anchor": 1}, {"acc": 1}, {**half, "hold": 1})
    yield from field_scales(c, op, "scale_r", {**half, "residual": 1}, half, negative=True)
    yield from channel_scales(c, op, c.tiles * c.lanes, PARAM_WORDS, **half)


def window() -> Iterator[Rule]:
    c, op = INTEGERS, Opcode.WINDOW

    def rule(name: str, bad: dict[str, int], legal: dict[str, int]) -> Rule:
        return Rule(name, c, op, bad, legal)

    yield from counts(c, op, "nx", "ny", "nnb", "ns", "nr", "stride", "ng", "m_last", "n_last")
    yield rule("as many steps as the weight stores hold", {"stride": 5, "nr": 7},
               {"stride": 4, "nr": 7})
    yield rule("ng covers the columns", {"ns": 4, "ng": 1}, {"ns": 4, "ng": 2})
    yield rule("ng is not more than that", {"ns": 3, "ng": 2}, {"ns": 3, "ng": 1})
    yield rule("no more pixel streams than groups", {"m_split": 2}, {"m_split": 1})
    yield rule("m_last is no more than the streams", {"m_last": 2}, {"m_last": 2, "m_split": 1})
    yield rule("n_last is no more than the groups of a stream", {"n_last": 3}, {"n_last": 2})
    yield from circle(c, op, "a", "a_row", "a_y", "a_r", "a_m")
    yield from circle(c, op, "o", "o_row", "o_y", "o_m")
    yield rule("the machine has the dtype", {"dtype": DType.FP16}, {})
    yield Rule("no sums of FP32", FLOATS, op, {"dtype": DType.FP32}, {"dtype": DType.FP16})
    yield from channel_scales(c, op, c.window_taps, PARAM_WORDS)
    yield from channel_scales(FLOATS, op, FLOATS.window_taps, FLOAT_PARAM_WORDS, dtype=DType.FP16)


def vector() -> Iterator[Rule]:
    c, op = INTEGERS, Opcode.VECTOR

    def rule(name: str, bad: dict[str, int], legal: dict[str, int]) -> Rule:
        return Rule(name, c, op, bad, legal)

    yield from counts(c, op, "nx", "ny", "ncb", "ns", "nr")
    for n in ("ns", "nr"):
        yield rule(f"a sum of two has one tap, {n}", {"vop": VectorOp.ADD, n: 2}, {n: 2})
    yield from circle(c, op, "a", "a_row", "a_y", "a_r")
    yield from circle(c, op, "b", "b_row", "b_y", vop=VectorOp.ADD)
    yield from circle(c, op, "o", "o_row", "o_y")
    yield from field_scales(c, op, "scale_a", {})
    yield from field_scales(c, op, "scale_b", {"vop": VectorOp.ADD}, {})
    for n in ("a_type", "b_type", "o_type"):
        yield rule(f"the machine has the {n}", {n: DType.BF16}, {})
    half = {"a_type": DType.FP16, "b_type": DType.FP16, "o_type": DType.FP16}
    for vop in (VectorOp.MUL, *(op for op in VectorOp if op.function)):
        yield Rule(f"{vop.name} of floats", FLOATS, op, {"vop": vop}, {"vop": vop, **half})
    for vop in VectorOp:
        if not vop.function:
            yield Rule(f"{vop.name} has no plus", FLOATS, op, {"vop": vop, "plus": 1, **half},
                       {"vop": vop, **half})
    yield from circle(FLOATS, op, "b", "b_row", "b_y", **half, vop=VectorOp.GELU, plus=1)
    for vop in VectorOp:
        if vop not in (VectorOp.MAX, VectorOp.SUM):
            yield Rule(f"{vop.name} has no fold", FLOATS, op, {"vop": vop, "fold": 1, **half},
                       {"vop": vop, **half})
    for vop in (VectorOp.MAX, VectorOp.SUM):
        for n in ("a_type", "o_type"):
            folds = {"vop": vop, "fold": 1, **half}
            yield Rule(f"{vop.name} with fold has no INT8, {n}", FLOATS, op,
                       {**folds, n: DType.INT8}, folds)
        yield Rule(f"fold of integers, {vop.name}", c, op, {"vop": vop, "fold": 1}, {"vop": vop})
    yield Rule("plus of integers", c, op, {"vop": VectorOp.EXP, "plus": 1}, {})
    for vop in range(len(VectorOp), 16):
        yield Rule(f"there is no operation {vop}", FLOATS, op, {"vop": vop, **half},
                   {"vop": VectorOp.GELU, **half})
    for vop in (VectorOp.ADD, VectorOp.EXP):
        yield from field_scales(FLOATS, op, "scale_b", {"vop": vop, **half},
                                {"vop": VectorOp.MUL, **half}, negative=True)
    for n in ("ns", "nr"):
        yield Rule(f"a function has one tap, {n}", FLOATS, op, {"vop": VectorOp.EXP, **half, n: 2},
                   {"vop": VectorOp.SUM, **half, n: 2})
    yield Rule("no sums of FP32", FLOATS, op, {"vop": VectorOp.SUM, **half, "a_type": DType.FP32},
               {"vop": VectorOp.MAX, **half, "a_type": DType.FP32})


RULES = [*tensor(), *tensor_floats(), *window(), *vector()]


def scratchpad(config: Config) -> np.ndarray:
    """The scratchpad of the table (uint8 [words, lanes])."""
    patterns = np.full((config.spm_words, config.lanes // 4), ONE, np.uint32)
    for k, bits in enumerate((ILLEGAL | NEGATIVE).values()):
        patterns[MARKED + k * APART + k % 2, k % (config.lanes // 4)] = bits
    return patterns.view(np.uint8)
