# SPDX-License-Identifier: Apache-2.0
"""The reference pages of ``docs/`` from the specification: ``python -m makalu.pages.isa_pages``."""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from golden import tensor, vector, window
from isa import instructions as spec
from isa import jobs
from isa.chip import CHIPS
from isa.config import Config
from isa.presets import PRESETS
from isa.registers import COUNTERS, GANG_PROFILE, REGISTERS, REGISTER_SPACE_BITS, Register

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTE = "<!-- Made from the specification by `make docs`; edit `isa/`, not this page. -->\n"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def put(page: Path, begin: str, end: str, text: str) -> None:
    """Write what stands between two marks of a page."""
    old = page.read_text()
    page.write_text(old.split(begin)[0] + begin + "\n" + text + "\n" + end + old.split(end)[1])


def _text(thing: object) -> str:
    """A docstring as Markdown."""
    text = inspect.cleandoc(thing.__doc__ or "").replace("``", "`").replace("::\n", ":\n")
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text)


def _fields(fields: tuple[spec.Field, ...], start: int) -> str:
    rows, at = [], start
    for f in fields:
        rows.append((f.name and f"`{f.name}`", at, f.width, "signed" if f.signed else "", f.doc))
        at += f.width
    return table(("field", "bit", "width", "", "meaning"), rows)


def instructions() -> str:
    """``docs/isa.md``."""
    head = spec.HEAD + spec.COMMON
    behind = spec.width(head)
    parts = [
        NOTE, "# Instruction set\n", _text(spec).split("\n\n", 1)[1], "\n## Common fields\n",
        _fields(head, 0), "\n## Opcodes\n",
        table(("code", "name", "queue", "bits used", "most units"), (
            (int(op), f"`{op.name}`", spec.QUEUE_OF.get(op, "sequencer"),
             behind + spec.width(spec.FIELDS[op]), spec.UNITS[op]) for op in spec.Opcode)),
        SCALES, DMA,
        _fields(spec.DMA_FIELDS, behind), "\n## TENSOR\n\n",
        _text(tensor).split("\n\n", 1)[1], WEIGHT_STREAM, POST,
        _fields(spec.TENSOR_FIELDS, behind), "\n## WINDOW\n\n",
        _text(window).split("\n\n", 1)[1], WINDOW_WEIGHTS,
        _fields(spec.WINDOW_FIELDS, behind), "\n## VECTOR\n\n",
        _text(vector), _fields(spec.VECTOR_FIELDS, behind), GANGS,
        *(part for name, fields in (("XFER", spec.XFER_FIELDS), ("SIGNAL", spec.SIGNAL_FIELDS),
                                    ("AWAIT", spec.AWAIT_FIELDS))
          for part in (f"\n### {name}\n\n", _fields(fields, behind))), "\n## Regions\n\n",
        _text(spec.Region),
        table(("number", "name"), ((int(r), f"`{r.name}`") for r in spec.Region)),
        "\n## Faults\n\n",
        table(("code", "name", "meaning"),
              ((int(f), f"`{f.name}`", spec.FAULT_TEXT[f]) for f in spec.Fault))]
    return "\n\n".join(p.strip("\n") for p in parts) + "\n"


SCALES = """
## Scales

A scale, of a channel or in a field, is a binary32 number in [2^-100, 2^32), so that no product with
an integer is subnormal or overflows. `scale_r` of TENSOR and the scales of VECTOR may also be
negative, unless all types of the instruction are INT8. Any other scale that is used is BAD_FIELD.
"""

DMA = """
## LOAD, STORE

For `i3 < n3`, `i2 < n2`, `i1 < n1`: copy `n0` words between DRAM byte
`region[dram + i1*dram_stride1 + i2*dram_stride2 + i3*dram_stride3]` and scratchpad word
`spm + i1*spm_stride1 + i2*spm_stride2 + i3*spm_stride3`.
"""

GANGS = f"""
## XFER, SIGNAL, AWAIT

A machine with `exchange` is a core of a **gang**: up to {spec.MOST_RANKS} cores that begin
together, each with a stream of instructions of its own; they have the same four regions. A core's
*rank* is its place in the gang. Without `exchange` these opcodes are illegal.

Each core has {spec.SIGNALS} counters of {spec.SIGNAL_BITS} bits, which are zero when the gang
begins, and rise by signals alone.

XFER, for `i3 < n3`, `i2 < n2`, `i1 < n1`: copy `n0` words from the own scratchpad, word
`spm + i1*spm_stride1 + i2*spm_stride2 + i3*spm_stride3`, to word
`peer + i1*peer_stride1 + i2*peer_stride2 + i3*peer_stride3` of each core whose rank is set in `to`.
A word is read once for all of them. With `signal`, `counter` of each rises by one when its
scratchpad has taken the last word. The XFER has completed when that is so at all of them.

SIGNAL: `counter` of each core in `to` rises by one. What a core sends another one arrives there in
the order of the program: when a SIGNAL does, the words of the XFERs before it are there.

AWAIT has completed when `(value - threshold) mod 2^{spec.SIGNAL_BITS}` is below
2^{spec.SIGNAL_BITS - 1}, of the value of the own `counter`. What is to wait for it says so with
queue `await`.

`to` of 0, with the own rank or with one that the gang does not have, and counts of 0 are BAD_FIELD;
an XFER all of whose counts are 0 is a SIGNAL. Runs that leave a scratchpad, on either side, are
SPM_RANGE. A gang in which nobody can go on stops with WATCHDOG.
"""

WEIGHT_STREAM = """\
The **weight stream** starts at `w_base`, is read from front to back, and again for every rectangle.
For each group `nb`: for each pass (r, s, cb, in this order), `gn` tiles of L words (word `j` holds
the L weights of column `j`); then, unless `hold`, `gn` parameter blocks of 8 words (L INT32 biases,
L binary32 scales). With `w_type` 1 a tile is L / 2 words: with W the configuration's
`weight_words`, word `q*W + k` has the L / 2 weights of column `2*q*W + k` in its lower half, and
those of column `(2*q + 1)*W + k` in its upper half.
"""

POST = """
**Post-processing** of a finished sum, each step rounded to nearest even in binary32:
`v = clip(rint(f32(f32(psum + bias) * scale)) + z1, lo1, hi1)`, and with `residual`
`v = clip(rint(f32(f32((v - z1) * scale_a) + f32((b - r_zp) * scale_r))) + z2, lo2, hi2)`. The low
byte of `v` goes to byte `column` of word
`o_base + X*o_x + (nb*gn + n)*o_n + wrap(o_row + Y*o_y + m*o_m)`; the residual word lies at
`r_base + X*o_x + (nb*gn + n)*r_n + wrap(r_row + Y*o_y + m*o_m)`.

With `hold` the PSUM bank stays open, and the next TENSOR, with `acc` and the same `nx_last`,
`ny_last`, `m_split`, `m_last`, `n_last`, `dtype` and `anchor`, goes on adding to it: a reduction
may be cut over instructions, with `nnb = ntx = nty = 1` in each. `acc` with another of these, or
where no bank is held, is BAD_FIELD; none is held when a program begins.
"""

WINDOW_WEIGHTS = f"""\
The **weights** of channel block b start at word `w_base + b*w_n`. With T the configuration's
`window_taps`, and `ng = ceil(ceil(ns / stride) / T)`, they are `stride * nr * ng` steps of T words:
step (p, r, g), p outermost and g innermost, has in word `j` the L weights (one a lane) of kernel
row `r` and column `s = p + (g*T + j)*stride`; the word is ignored where `s >= ns`. Behind them lie
8 words of parameters (L INT32 biases, L binary32 scales).

**Post-processing** is `v = clip(rint(f32(f32(acc + bias) * scale)) + z, lo, hi)`, as for TENSOR.
The low byte of `v` goes to the lane's byte of word
`o_base + x*o_x + b*o_n + wrap(o_row + Y*o_y + m*o_m)`.

**Bounds**: a kernel has up to {spec.WINDOW_KERNEL} rows and columns and up to
{spec.WINDOW_STEPS} weight steps; counts, `stride`, `m_last` and `n_last` are 1 or more; rows and
their steps lie on their circle, if there is one. A configuration without window taps has no window
engine and refuses the instruction as an illegal opcode.
"""


ABOUT_REGISTERS = """\
AXI4-Lite, 32 bits wide. A 64-bit quantity takes two registers, low half first. RW1C: write ones to
clear.

A host writes the four regions and `PROGRAM` once, then `DOORBELL` for every run, and waits for the
interrupt (or polls `STATUS`). While a program runs, writes to the regions, `PROGRAM` and `WATCHDOG`
are ignored. After an error, `CONTROL.RESET` recovers; regions, watchdog and `PROGRAM` survive it.
Where the memory does not answer, a reset waits for it without end, since AXI lets nobody withdraw:
the host reads the error first, and then resets machine and memory by their pins.

A program finds the scratchpad as the one before has left it. Between programs that must not see one
another's data, the host writes `CONTROL.RESET` and `CONTROL.CLEAR` together.
"""


ABOUT_COUNTERS = f"""\
The doorbell clears them; they count while the core is busy. Those that a machine does not have read
zero. From `{next(name for name, _ in COUNTERS if name in GANG_PROFILE)}` on they are of machines
with `exchange`, such as the cores of chips.
"""


def _registers(of: Iterable[Register]) -> str:
    rows = []
    for r in of:
        bits = "; ".join(f"bit {low}{f'–{low + width - 1}' if width > 1 else ''} `{name}`: {doc}"
                         for low, width, name, doc in r.bits)
        rows.append((f"`0x{r.offset:03X}`", f"`{r.name}`", r.access,
                     r.doc + (f" ({bits})" if bits else "")))
    return table(("offset", "name", "access", "meaning"), rows)


ABOUT_CHIPS = f"""\
A chip has these registers on its AXI4-Lite port, and those of core k, read-only, at
`(1 + k) * 0x{1 << REGISTER_SPACE_BITS:X}`. Queue k's lie at `0x{jobs.QUEUE_BASE:X} +
0x{jobs.QUEUE_BYTES:X} * k`; the first's are shown. Jobs and records are blocks of {jobs.BLOCK}
bytes in memory ([chip.md](chip.md)).
"""


def registers() -> str:
    """``docs/registers.md``."""
    events = table(("counter", "counts"), ((f"`{n}`", d) for n, d in COUNTERS))
    chip = [r for r in jobs.REGISTERS if r.offset < jobs.QUEUE_BASE + jobs.QUEUE_BYTES]
    return (f"{NOTE}\n# Registers\n\n{ABOUT_REGISTERS}\n{_registers(REGISTERS)}\n"
            f"## Counters\n\n{ABOUT_COUNTERS}\n{events}\n"
            f"## Of a chip\n\n{ABOUT_CHIPS}\n{_registers(chip)}")


def configurations() -> str:
    """``docs/configurations.md``."""
    doc = inspect.cleandoc(Config.__doc__ or "")
    body = doc.split("----------\n", 1)[1].split("\n\nRaises", 1)[0]
    rows, name = [], ""
    for line in body.splitlines():
        if line and not line.startswith(" "):
            name = line.split(" :")[0]
            rows.append([f"`{name}`", ""])
        else:
            rows[-1][1] = f"{rows[-1][1]} {line.strip()}".strip()
    text = {r[0].strip("`"): r[1].replace("``", "`") for r in rows}
    cells = ([f"`{field}`", meaning, *(getattr(c, field) if field != "dtypes"
                                       else ", ".join(c.dtypes) for c in PRESETS.values())]
             for field, meaning in text.items() if field != "name")
    peak = ["**INT8 MACs a cycle**", "", *(c.macs for c in PRESETS.values())]
    return (f"{NOTE}\n# Configurations\n\nA configuration is a preset's name or a JSON file with "
            "these fields. Its hash is in the identification registers and in every program.\n\n"
            + table(("field", "meaning", *PRESETS), [*cells, peak])
            + "\n## Chips\n\nA chip is cores of one configuration ([chip.md](chip.md)).\n\n"
            + table(("chip", "cores", "of", "memory channels", "bytes a cycle",
                     "INT8 MACs a cycle"),
                    ((f"`{c.name}`", c.cores, f"`{c.core.name}`", c.channels, c.bytes_a_cycle,
                      c.cores * c.core.macs) for c in CHIPS.values())))


PAGES = {"isa.md": instructions, "registers.md": registers, "configurations.md": configurations}


def main() -> None:
    """Write the pages."""
    DOCS.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
