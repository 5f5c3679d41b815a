# SPDX-License-Identifier: Apache-2.0
"""The instruction set as data: one table of fields, from which the assembler, the golden model, the
RTL and ``docs/isa.md`` are made.

An instruction is ``size`` units of 32 bytes, little-endian, fields packed from bit 0 upwards in the
order of the table: first those of :data:`HEAD` and :data:`COMMON`, then those of its opcode. All
bits behind its end are zero, so an encoder leaves out units that hold nothing else. Reserved bits
are zero. A ``size`` of 0, or beyond the fields of the opcode, is as illegal as an opcode that is
none.

Instructions follow one another without a gap. The machine reads them in blocks of 128 bytes,
counted from the program's first byte: what an instruction touches of them has to lie in the region
as a whole.

The machine has five in-order queues, and one with ``exchange`` two more, ``send`` and ``await``;
without them their bits in ``wait_mask`` mean nothing. An instruction starts when, for every queue
``q`` whose bit is set in ``wait_mask``, at least ``wait_<q>`` instructions of that queue have
completed since the doorbell, counted modulo 2**16. Of the ``n`` instructions of that queue that
stand before it in the program, the last one that it waits for is at most 2**14 back:
``0 <= n - wait <= 2**14`` modulo 2**16. It has completed when everything it writes is visible to
every other engine.

With ``w_ahead``, TENSOR and WINDOW read weights and parameters as soon as their waits for ``load``
are satisfied, while the instruction still waits for other queues.
"""

import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from isa.config import SPM_ADDRESS_BITS, Config
from isa.numerics import ZERO_POINT_BITS

UNIT_BYTES = 32
"""What the length of an instruction is a multiple of: the widest bus, so that one begins with a bus
word."""

FETCH_BYTES = 128
"""What the machine reads at a time: programs begin at a multiple of it in their region."""

QUEUES = ("load", "tensor", "window", "vector", "store")
"""In-order instruction queues of every machine; the position is the bit in ``wait_mask``."""

GANG_QUEUES = (*QUEUES, "send", "await")
"""Those of a machine with ``exchange``, which works in a gang."""

GANG_ONLY = GANG_QUEUES[len(QUEUES):]
"""Those that no other machine has."""


def queues_of(config: Config) -> tuple[str, ...]:
    """Those of a machine."""
    return GANG_QUEUES if config.exchange else QUEUES


MOST_RANKS = 16
"""Cores of a gang."""

SIGNALS = 8
"""Counters of signals that a core of a gang has."""

SIGNAL_BITS = 16
"""Of such a counter, which is zero when the gang begins, and only rises."""

WAIT_BITS = 16
WAIT_REACH = 1 << (WAIT_BITS - 2)
"""How many instructions of a queue may lie between a wait and what it waits for. Fewer than as many
more may follow in the program and complete while it waits (:mod:`hw.control.sequencer`), so that
counters that are compared modulo 2**16 never run away from a wait."""

IMAGE_BITS = 18
"""Width of an input coordinate, two's complement: coordinates are computed modulo 2**18, addresses
modulo 2 to the width of their fields."""

INDEX_BITS = 24
"""Width of an instruction's position in its program, as errors report it."""


class Opcode(enum.IntEnum):
    """Operation codes. Zero is illegal, so that empty memory is not a program."""

    LOAD = 1
    STORE = 2
    TENSOR = 3
    WINDOW = 4
    VECTOR = 5
    END = 6
    XFER = 7
    SIGNAL = 8
    AWAIT = 9


QUEUE_OF = {Opcode.LOAD: "load", Opcode.STORE: "store", Opcode.TENSOR: "tensor",
            Opcode.WINDOW: "window", Opcode.VECTOR: "vector",
            Opcode.XFER: "send", Opcode.SIGNAL: "send", Opcode.AWAIT: "await"}
"""The queue of each opcode; END is for the sequencer itself."""

EXCHANGE = (Opcode.XFER, Opcode.SIGNAL, Opcode.AWAIT)
"""Opcodes that are illegal without ``exchange``."""


class Region(enum.IntEnum):
    """DRAM regions whose base and size the host sets; every DRAM address is an offset in one.

    Those of :data:`READ_ONLY`, PROGRAM and INPUT, cannot be stored to. Those of :data:`KEPT`,
    WORKSPACE and OUTPUT, are zero when a program is loaded, and from then on as its executions
    leave them, on every device. After a fault they hold what happened to be stored before it, until
    the next load.
    """

    PROGRAM = 0
    WORKSPACE = 1
    INPUT = 2
    OUTPUT = 3


READ_ONLY = (Region.PROGRAM, Region.INPUT)
"""Regions that cannot be stored to."""

KEPT = (Region.WORKSPACE, Region.OUTPUT)
"""Those that can be, and that keep their bytes from execution to execution."""

REGION_ALIGN = 32
"""Bytes that bases and sizes of regions are multiples of: the widest bus, so that a beat that holds
a word of a region lies within that region."""


class DType(enum.IntEnum):
    """Types of elements. INT8 is also UINT8, as the instruction says."""

    INT8 = 0
    FP16 = 1
    BF16 = 2
    FP32 = 3

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return (1, 2, 2, 4)[self]

    @property
    def needs(self) -> str:
        """What :attr:`isa.config.Config.dtypes` has to have; FP32 comes with any float."""
        return ("int8", "fp16", "bf16", "")[self]


ABSENT = 0x8000
"""The pattern -0 as a floating-point weight: there is no product, whatever the activation."""


class VectorOp(enum.IntEnum):
    """What a VECTOR instruction computes; see :mod:`golden.vector`."""

    ADD = 0
    MAX = 1
    SUM = 2
    MUL = 3
    EXP = 4
    RECIPROCAL = 5
    SIGMOID = 6
    TANH = 7
    RSQRT = 8
    GELU = 9

    @property
    def function(self) -> bool:
        """Whether it is a function of one operand (:mod:`golden.functions`)."""
        return self >= VectorOp.EXP


class WindowOp(enum.IntEnum):
    """What a WINDOW instruction computes; see :mod:`golden.window`."""

    MAC = 0
    MAX = 1


WINDOW_KERNEL = 7
"""Most rows and columns of a kernel that a WINDOW instruction takes."""

WINDOW_STEPS = 32
"""Most weight steps (``stride * nr * ng``) of a channel block of a WINDOW instruction."""


class Fault(enum.IntEnum):
    """Why the machine stopped; the error register holds the value."""

    NONE = 0
    ILLEGAL_OPCODE = 1
    SPM_RANGE = 2
    DRAM_RANGE = 3
    BAD_FIELD = 4
    AXI_SLVERR = 5
    AXI_DECERR = 6
    WATCHDOG = 7
    AXI_PROTOCOL = 8
    BUS_TIMEOUT = 9
    GROUP = 10


FAULT_TEXT = {
    Fault.NONE: "no error",
    Fault.ILLEGAL_OPCODE: "illegal opcode, or an engine that this configuration does not have",
    Fault.SPM_RANGE: "address outside the scratchpad",
    Fault.DRAM_RANGE: "DRAM address outside its region, or a store to a read-only region",
    Fault.BAD_FIELD: "a field outside its bounds: a count of zero, too many PSUM entries, "
                     "a misaligned address, a scale that is none",
    Fault.AXI_SLVERR: "the memory answered SLVERR",
    Fault.AXI_DECERR: "the memory answered DECERR: nothing is at that address",
    Fault.WATCHDOG: "no instruction completed, and no data moved, within the watchdog's limit",
    Fault.AXI_PROTOCOL: "the memory broke the rules of AXI: RLAST on a wrong beat, an answer to "
                        "what was not asked, an ID or a response that is none",
    Fault.BUS_TIMEOUT: "the memory did not take a request or did not answer within the watchdog's "
                       "limit",
    Fault.GROUP: "the LOADs with `group` of the cores of a gang differ in their addresses or their "
                 "order",
}


@dataclass(frozen=True)
class Field:
    """One field: ``width`` bits, two's complement where ``signed``."""

    name: str
    width: int
    doc: str
    signed: bool = False

    @property
    def low(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.width - self.signed)) - 1


W = SPM_ADDRESS_BITS
G = SPM_ADDRESS_BITS + 2


def _word(name: str, doc: str, signed: bool = True) -> Field:
    return Field(name, W, doc + " (words)", signed)


def _types(*names: tuple[str, str]) -> tuple[Field, ...]:
    return tuple(Field(name, 2, f"type of {what}: 0 INT8, 1 FP16, 2 BF16, 3 FP32")
                 for name, what in names)


ANCHOR = Field("anchor", 9, "BF16: exponent of the lowest bit of the sum", True)

CLIPS = (
    Field("lo_f", 16, "lower clip of a float result, a binary16 pattern; NaN: none"),
    Field("hi_f", 16, "upper clip of a float result, a binary16 pattern; NaN: none"),
)


def _granule(name: str, doc: str, signed: bool = True) -> Field:
    return Field(name, G, doc + " (granules of 4 bytes)", signed)


def _reserved(width: int) -> Field:
    """Bits without a name, which are zero."""
    return Field("", width, "reserved")


HEAD = (
    Field("opcode", 8, "operation"),
    Field("size", 4, f"units of {UNIT_BYTES} bytes that the instruction has"),
    _reserved(INDEX_BITS - 12),
)
"""What the decoder reads; in the queues it makes room for the position in the program."""

COMMON = (
    Field("wait_mask", len(GANG_QUEUES), "queues to wait for: bit 0 load, 1 tensor, 2 window, "
          "3 vector, 4 store, 5 send, 6 await"),
    *(Field(f"wait_{q}", WAIT_BITS, f"completed {q} instructions to wait for")
      for q in GANG_QUEUES),
    _reserved(1),
)
"""Of every opcode."""

ALONE = (
    Field("wait_mask", len(QUEUES), "queues to wait for"),
    _reserved(len(GANG_QUEUES) - len(QUEUES)),
    *COMMON[1:1 + len(QUEUES)],
    _reserved((len(GANG_QUEUES) - len(QUEUES)) * WAIT_BITS + 1),
)
"""The same as a machine without ``exchange`` looks at it."""

DMA_FIELDS = (
    Field("region", 2, "DRAM region"),
    Field("dram", 32, "byte offset in the region, a multiple of the word size"),
    _word("spm", "first scratchpad word", signed=False),
    Field("n0", 16, "words of a contiguous run, 1 or more"),
    Field("n1", 12, "runs, 1 or more"),
    Field("n2", 12, "repetitions of those, 1 or more"),
    Field("n3", 12, "repetitions of those, 1 or more"),
    Field("group", 1, "LOAD: 1: the cores of a gang read it together, each with a LOAD of its own "
          "(docs/chip.md); STORE: 0"),
    _reserved(5),
    *(Field(f"dram_stride{i}", 32, f"DRAM step of level {i}, in bytes, a multiple of the word "
            "size", True) for i in (1, 2, 3)),
    *(_word(f"spm_stride{i}", f"scratchpad step of level {i}") for i in (1, 2, 3)),
)

_COUNTER = Field("counter", (SIGNALS - 1).bit_length(), "which counter of signals")
_TO = Field("to", MOST_RANKS, "mask of ranks: receivers, of which the own core is none")

XFER_FIELDS = (
    _TO, Field("signal", 1, "1: the receivers' counter rises with the last word"), _COUNTER,
    _word("spm", "first scratchpad word", signed=False),
    _word("peer", "first scratchpad word at the receivers", signed=False),
    *DMA_FIELDS[3:7],
    *(_word(f"spm_stride{i}", f"scratchpad step of level {i}") for i in (1, 2, 3)),
    *(_word(f"peer_stride{i}", f"scratchpad step of level {i} at the receivers")
      for i in (1, 2, 3)),
)

SIGNAL_FIELDS = (_TO, _reserved(1), _COUNTER)
"""As XFER has them: a SIGNAL is an XFER all of whose counts are zero."""

AWAIT_FIELDS = (
    _COUNTER, Field("threshold", SIGNAL_BITS, "signals that it waits for, since the gang began"),
)

W_AHEAD = Field("w_ahead", 1, "1: weights and parameters are read as soon as the waits for `load` "
                "are satisfied; 0: as soon as all are")

TENSOR_FIELDS = (
    # loop counts, inner to outer
    Field("nx", 9, "pixels of a rectangle's row, 1 or more"),
    Field("ny", 9, "rows of a rectangle; nx * ny entries fit in a PSUM bank"),
    Field("ncb", 12, "input channel blocks"),
    Field("ns", 8, "steps along a kernel row"),
    Field("nr", 8, "kernel rows"),
    Field("nnb", 12, "groups of output channel blocks"),
    Field("ntx", 12, "rectangles across"),
    Field("nty", 12, "rectangles down"),
    Field("nx_last", 9, "nx of the last rectangle across"),
    Field("ny_last", 9, "ny of the last rectangle down"),
    # activations
    _granule("a_base", "activation address of output pixel (0, 0), tap (0, 0), channel block 0"),
    _granule("a_x", "step per output pixel"),
    _granule("a_s", "step per kernel column"),
    _granule("a_cb", "step per input channel block"),
    _granule("a_nb", "step per group of output channel blocks"),
    _granule("a_row", "first row position, inside the circle when there is one"),
    _granule("a_y", "row step per output row"),
    _granule("a_r", "row step per kernel row"),
    Field("ix0", 16, "input column of output pixel 0, tap 0", True),
    Field("ix_x", 8, "input columns per output pixel"),
    Field("ix_s", 8, "input columns per kernel step"),
    Field("iy0", 16, "input row of output row 0, tap 0", True),
    Field("iy_y", 8, "input rows per output row"),
    Field("iy_r", 8, "input rows per kernel row"),
    Field("iw", 16, "input width: columns outside 0 … iw-1 read as `pad`"),
    Field("ih", 16, "input height: rows outside 0 … ih-1 read as `pad`"),
    Field("lane_dx", 2, "1: each granule is one column further right (packed shallow layers); "
          "2: each pair of granules"),
    Field("a_signed", 1, "activations are INT8 (1) or UINT8 (0)"),
    Field("a_zp", ZERO_POINT_BITS, "activation zero point, subtracted on the way in", True),
    Field("pad", 9, "value outside the image, after the zero point", True),
    # weights
    _word("w_base", "weight stream, a multiple of weight_words", signed=False),
    Field("w_signed", 1, "weights are INT8 (1) or UINT8 (0)"),
    Field("w_zp", ZERO_POINT_BITS, "weight zero point, subtracted on the way in", True),
    W_AHEAD,
    # organisation
    Field("m_last", 3, "pixel streams that are valid in the very last row, 1 or more"),
    Field("n_last", 3, "tiles of a stream that are valid in the last group, 1 or more"),
    Field("acc", 1, "1: the first pass adds to the PSUM bank that the last instruction held"),
    Field("hold", 1, "1: keep the PSUM bank open; nothing is drained, no parameters are read"),
    # output
    _word("o_base", "output address of pixel (0, 0), channel block 0"),
    _word("o_x", "step per output pixel"),
    _word("o_n", "step per output channel block"),
    _word("o_row", "first row position, inside the circle when there is one"),
    _word("o_y", "row step per output row"),
    Field("w_skip", 2, "words of the last valid block that are not written"),
    # requantizing
    Field("z1", ZERO_POINT_BITS, "zero point of the requantized sum", True),
    Field("lo1", ZERO_POINT_BITS, "its lower clip", True),
    Field("hi1", ZERO_POINT_BITS, "its upper clip", True),
    *_types(("dtype", "activations and weights, not FP32"), ("o_type", "the output")),
    Field("w_type", 2, "weights of float activations: 0 of the same type, 1 INT8"),
    # circles of rows
    _granule("a_wrap", "size of the activations' row circle; 0: rows do not wrap", signed=False),
    _word("o_wrap", "size of the output's row circle; 0: rows do not wrap", signed=False),
    # pixel streams
    Field("m_split", 2, "log2 of the pixel streams; the tiles of a stream split output channels"),
    _granule("a_m", "activation row step per pixel stream"),
    Field("iy_m", 8, "input rows per pixel stream"),
    _word("o_m", "output row step per pixel stream"),
    # floating point
    *CLIPS,
    # residual, addressed like the output
    _word("r_base", "residual address of pixel (0, 0), channel block 0"),
    _word("r_n", "residual step per channel block"),
    _word("r_row", "first residual row position"),
    _word("r_wrap", "size of the residual's row circle", signed=False),
    Field("residual", 1, "1: add the residual after requantizing"),
    *_types(("r_type", "the residual")),
    Field("r_signed", 1, "residual is INT8 (1) or UINT8 (0)"),
    Field("r_zp", ZERO_POINT_BITS, "residual zero point", True),
    Field("scale_a", 32, "binary32 factor of the requantized sum in the residual addition"),
    Field("scale_r", 32, "binary32 factor of the residual"),
    Field("z2", ZERO_POINT_BITS, "zero point after the addition", True),
    Field("lo2", ZERO_POINT_BITS, "lower clip after the addition", True),
    Field("hi2", ZERO_POINT_BITS, "upper clip after the addition", True),
    ANCHOR,
)

WINDOW_FIELDS = (
    Field("wop", 1, "0 MAC: sum of products, 1 MAX: maximum"),
    Field("nx", 16, "output columns"),
    Field("ny", 16, "output rows of a pixel stream"),
    Field("nnb", 12, "groups of channel blocks"),
    Field("ns", 3, "kernel columns, 1 to 7"),
    Field("nr", 3, "kernel rows, 1 to 7"),
    Field("stride", 3, "input columns per output column, 1 to 7"),
    Field("ng", 3, "weight steps of a column: taps / MACs of a lane, rounded up"),
    # activations
    _word("a_base", "address of input column 0, channel block 0"),
    _word("a_x", "step per input column"),
    _word("a_n", "step per channel block"),
    _word("a_row", "first row position, inside the circle when there is one"),
    _word("a_y", "row step per output row"),
    _word("a_r", "row step per kernel row"),
    _word("a_m", "row step per pixel stream"),
    _word("a_wrap", "size of the row circle; 0: rows do not wrap", signed=False),
    Field("ix0", 16, "image column of input column 0", True),
    Field("ix_x", 8, "image columns per input column"),
    Field("iy0", 16, "image row of output row 0, kernel row 0", True),
    Field("iy_y", 8, "image rows per output row"),
    Field("iy_r", 8, "image rows per kernel row"),
    Field("iy_m", 8, "image rows per pixel stream"),
    Field("iw", 16, "image width: taps outside are skipped"),
    Field("ih", 16, "image height: taps outside are skipped"),
    Field("a_signed", 1, "activations are INT8 (1) or UINT8 (0)"),
    Field("a_zp", ZERO_POINT_BITS, "activation zero point, subtracted on the way in", True),
    # weights and parameters
    _word("w_base", "weights and parameters of channel block 0", signed=False),
    _word("w_n", "step per channel block; 0: all have the same"),
    Field("w_signed", 1, "weights are INT8 (1) or UINT8 (0)"),
    Field("w_zp", ZERO_POINT_BITS, "weight zero point, subtracted on the way in", True),
    W_AHEAD,
    # organisation
    Field("m_split", 2, "log2 of the pixel streams; the groups of a stream split channel blocks"),
    Field("m_last", 3, "pixel streams that are valid in the last row, 1 or more"),
    Field("n_last", 3, "channel blocks that are valid in the last group, 1 or more"),
    # output
    _word("o_base", "output address of pixel (0, 0), channel block 0"),
    _word("o_x", "step per output column"),
    _word("o_n", "step per channel block"),
    _word("o_row", "first row position, inside the circle when there is one"),
    _word("o_y", "row step per output row"),
    _word("o_m", "row step per pixel stream"),
    _word("o_wrap", "size of the row circle; 0: rows do not wrap", signed=False),
    Field("z", ZERO_POINT_BITS, "output zero point", True),
    Field("lo", ZERO_POINT_BITS, "lower clip", True),
    Field("hi", ZERO_POINT_BITS, "upper clip", True),
    # floating point
    *_types(("dtype", "activations, weights and output, not FP32")),
    ANCHOR, *CLIPS,
)

VECTOR_FIELDS = (
    Field("vop", 4, ", ".join(f"{op.value} {op.name}" for op in VectorOp)),
    Field("nx", 16, "output columns"),
    Field("ny", 16, "output rows"),
    Field("ncb", 12, "channel blocks: words of the operand or output with the largest type"),
    Field("ns", 8, "window columns; 1 but for MAX and SUM"),
    Field("nr", 8, "window rows; 1 but for MAX and SUM"),
    _word("a_base", "first operand: address of output (0, 0), tap (0, 0), channel block 0"),
    _word("a_x", "step per output column"),
    _word("a_s", "step per window column"),
    _word("a_cb", "step per channel block"),
    _word("a_row", "first row position, inside the circle when there is one"),
    _word("a_y", "row step per output row"),
    _word("a_r", "row step per window row"),
    _word("a_wrap", "size of the row circle; 0: rows do not wrap", signed=False),
    Field("ix0", 16, "input column of output 0, tap 0", True),
    Field("ix_x", 8, "input columns per output"),
    Field("ix_s", 8, "input columns per window column"),
    Field("iy0", 16, "input row of output row 0, tap 0", True),
    Field("iy_y", 8, "input rows per output row"),
    Field("iy_r", 8, "input rows per window row"),
    Field("iw", 16, "input width: taps outside are skipped"),
    Field("ih", 16, "input height: taps outside are skipped"),
    _word("b_base", "operand b of ADD, MUL and `plus`: address of output (0, 0), channel block 0"),
    _word("b_x", "step per output column"),
    _word("b_cb", "step per channel block"),
    _word("b_row", "first row position"),
    _word("b_y", "row step per output row"),
    _word("b_wrap", "size of the row circle", signed=False),
    _word("o_base", "output address of (0, 0), channel block 0"),
    _word("o_x", "step per output column"),
    _word("o_cb", "step per channel block"),
    _word("o_row", "first row position"),
    _word("o_y", "row step per output row"),
    _word("o_wrap", "size of the row circle", signed=False),
    Field("a_signed", 1, "first operand is INT8 (1) or UINT8 (0)"),
    Field("a_zp", ZERO_POINT_BITS, "its zero point", True),
    Field("b_signed", 1, "second operand is INT8 (1) or UINT8 (0)"),
    Field("b_zp", ZERO_POINT_BITS, "its zero point", True),
    Field("scale_a", 32, "binary32 factor of the first operand, of the maximum, or of the sum"),
    Field("scale_b", 32, "binary32 factor of the second operand, or of a function's value"),
    Field("z", ZERO_POINT_BITS, "output zero point", True),
    Field("lo", ZERO_POINT_BITS, "lower clip", True),
    Field("hi", ZERO_POINT_BITS, "upper clip", True),
    # floating point
    Field("plus", 1, "1: a function's argument is the sum of both operands"),
    Field("fold", 1, "1: a maximum or sum of floats goes over the channels of a block, too"),
    *_types(("a_type", "the first operand"), ("b_type", "the second operand"),
            ("o_type", "the output")),
    ANCHOR, *CLIPS,
)

FIELDS: dict[Opcode, tuple[Field, ...]] = {
    Opcode.LOAD: DMA_FIELDS,
    Opcode.STORE: DMA_FIELDS,
    Opcode.TENSOR: TENSOR_FIELDS,
    Opcode.WINDOW: WINDOW_FIELDS,
    Opcode.VECTOR: VECTOR_FIELDS,
    Opcode.END: (),
    Opcode.XFER: XFER_FIELDS,
    Opcode.SIGNAL: SIGNAL_FIELDS,
    Opcode.AWAIT: AWAIT_FIELDS,
}
"""Fields of each opcode behind the common ones."""


def width(fields: tuple[Field, ...]) -> int:
    """Bits that a sequence of fields takes."""
    return sum(f.width for f in fields)


def _places(opcode: Opcode, common: tuple[Field, ...] = COMMON) -> list[tuple[Field, int]]:
    table = HEAD + common + FIELDS[opcode]
    lows = itertools.accumulate((f.width for f in table), initial=0)
    return [(f, low) for f, low in zip(table, lows, strict=False) if f.name][2:]


PLACES = {op: _places(op) for op in Opcode}
"""Fields of each opcode with their lowest bits, but for opcode and size."""

ALONE_PLACES = {op: _places(op, ALONE) for op in Opcode if op not in EXCHANGE}
"""The same of a machine without ``exchange``."""

UNITS = {op: -(-(places[-1][1] + places[-1][0].width) // (8 * UNIT_BYTES))
         for op, places in PLACES.items()}
"""The longest instruction of each opcode, in units."""

_DECODE = {op: [(f.name, low, (1 << f.width) - 1, f.signed << f.width - 1) for f, low in places]
           for op, places in PLACES.items()}
_NAMES = {op: frozenset(f.name for f, _ in places) for op, places in PLACES.items()}


def reached(value: int, threshold: int) -> bool:
    """Whether a counter, of signals or of completions, has come to a threshold, modulo 2**16."""
    return (value - threshold) % (1 << SIGNAL_BITS) < 1 << (SIGNAL_BITS - 1)


def bytes_of(head: bytes) -> int:
    """Bytes of the instruction that begins with at least two bytes ``head``; one that says 0 is
    taken for a unit."""
    return max(1, head[1] & HEAD[1].high) * UNIT_BYTES


def opcode_of(head: bytes) -> Opcode:
    """Its opcode.

    Raises
    ------
    ValueError
        If opcode or size is illegal.
    """
    code, size = head[0], head[1] & HEAD[1].high
    if code not in Opcode._value2member_map_:
        raise ValueError(f"illegal opcode {code}")
    if not 1 <= size <= UNITS[Opcode(code)]:
        raise ValueError(f"{Opcode(code).name} with an illegal size of {size} units")
    return Opcode(code)


def encoded_bytes(opcode: Opcode, fields: Mapping[str, int]) -> int:
    """Bytes of the shortest encoding, without a look at the fields of :data:`COMMON`."""
    for name, low, mask, _ in reversed(_DECODE[opcode][len(GANG_QUEUES) + 1:]):
        if value := fields.get(name, 0):
            return -(-(low + (value & mask).bit_length()) // (8 * UNIT_BYTES)) * UNIT_BYTES
    return UNIT_BYTES


def whole_blocks(size: int) -> int:
    """Bytes of the blocks that a program of ``size`` bytes touches."""
    return -(-size // FETCH_BYTES) * FETCH_BYTES


def codes(image: bytes, program: int = 0) -> Iterator[bytes]:
    """Each instruction in turn of the program at a byte of an image, as far as it lies in it."""
    at = program
    while program + whole_blocks(at + UNIT_BYTES - program) <= len(image):
        end = at + bytes_of(image[at:at + 2])
        if program + whole_blocks(end - program) > len(image):
            return
        yield image[at:end]
        at = end


def assembled(instructions: Iterable["Instruction"]) -> bytes:
    """A program, up to the end of its last block."""
    code = b"".join(i.encode() for i in instructions)
    return code.ljust(whole_blocks(len(code)), b"\0")


@dataclass
class Instruction:
    """One instruction: its opcode and the values of its fields (those not given are zero), which
    can be read as attributes. One that was decoded is not to be changed.

    Raises
    ------
    ValueError
        On encoding, if a field is unknown or its value does not fit.
    """

    opcode: Opcode
    fields: dict[str, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> int:
        opcode = self.__dict__.get("opcode")  # copies ask before there is one
        if opcode is None or name not in _NAMES[opcode]:
            what = opcode.name if opcode else "an instruction without an opcode"
            raise AttributeError(f"{what} has no field {name!r}")
        return self.fields.get(name, 0)

    def encode(self) -> bytes:
        """The shortest encoding."""
        unknown = self.fields.keys() - _NAMES[self.opcode]
        if unknown:
            raise ValueError(f"{self.opcode.name} has no field {', '.join(sorted(unknown))}")
        word = int(self.opcode)
        for f, low in PLACES[self.opcode]:
            value = int(self.fields.get(f.name, 0))
            if not f.low <= value <= f.high:
                raise ValueError(f"{self.opcode.name}.{f.name} = {value} does not fit: "
                                 f"{f.low} … {f.high} ({f.doc})")
            word |= (value & ((1 << f.width) - 1)) << low
        units = -(-word.bit_length() // (8 * UNIT_BYTES))
        return (word | units << HEAD[0].width).to_bytes(units * UNIT_BYTES, "little")

    @classmethod
    def decode(cls, data: bytes) -> "Instruction":
        """The instruction that ``data`` begins with.

        Raises
        ------
        ValueError
            If opcode or size is illegal.
        """
        opcode = opcode_of(data)
        word = int.from_bytes(data[:bytes_of(data)], "little")
        values = {}
        for name, at, mask, sign in _DECODE[opcode]:
            value = word >> at & mask
            values[name] = value - ((value & sign) << 1)
        result = cls(opcode, {name: value for name, value in values.items() if value})
        # an attribute proper is read ten times as quickly as one through __getattr__
        result.__dict__.update(values)
        return result

    def __str__(self) -> str:
        waits = " ".join(f"{q}>={self.fields.get(f'wait_{q}', 0)}"
                         for i, q in enumerate(GANG_QUEUES)
                         if self.fields.get("wait_mask", 0) >> i & 1)
        rest = " ".join(f"{k}={v}" for k, v in self.fields.items() if not k.startswith("wait_"))
        return f"{self.opcode.name:<6} {f'[{waits}] ' if waits else ''}{rest}".rstrip()
