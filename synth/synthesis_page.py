# SPDX-License-Identifier: Apache-2.0
"""``docs/synthesis.md`` of the figures in ``docs/synthesis.json``."""

from collections.abc import Mapping
from typing import Any

from synth.gowin import DEVICE
from synth.mapping import DEEP
from synth.measure import FAST, ROUTABLE, WHOLE
from synth.place import Target

Rows = Mapping[str, Mapping[str, Any]]

HEADINGS = {
    "ecp5": "ECP5 (`synth_ecp5`, registers moved into DSP blocks)",
    "xc7": "Xilinx 7 series (`synth_xilinx -family xc7`)",
    "xcup": "UltraScale+ (`synth_xilinx -family xcup`)",
    "ecp5 routed": (f"ECP5-{Target().size}, speed grade {Target().speed}, placed and routed "
                    f"(blocks of up to {ROUTABLE:,} LUT4)"),
    WHOLE: (f"ECP5-{FAST.size}, speed grade {FAST.speed}, the whole machine placed and routed for "
            f"{FAST.frequency:.0f} MHz"),
    "gowin routed": f"Gowin {DEVICE}, placed and routed"}

INTRODUCTION = f"""# Synthesis

Made by `make synthesis CONFIG=NAME` ([synth/report.py](../synth/report.py)), whole machines on the
ECP5 by `python -m synth.report --config NAME --block makalu --target "{WHOLE}"`; the figures are in
`synthesis.json`. Each block is synthesized alone by Yosys, so nothing is shared or trimmed between
blocks; `scratchpad` has one read port and one write port here, and `makalu` is the whole machine.
`make synthesis CHECK=1` measures some blocks anew and fails on a loss.

*LUT4* counts carry cells as two and 16 x 4 RAMs as six, *LUT* counts LUT RAMs with their LUTs, and
*RAMB18* a block of 36 kbit as two. *LUT, paired*: a LUT6 of Xilinx has two outputs and so holds two
functions that have five inputs in all, which Yosys leaves to the placer; so many LUT6 are taken if
it pairs all that it can. *DSP with its own registers*: operands and product lie in
registers of the DSP block. *DSP between registers*: in those, or in flip-flops with nothing in
between. Yosys moves registers, and the adders behind products, into the DSP blocks of the 7 series
alone, which is why a tile has so few LUTs there; on ECP5 synth/ecp5.py moves the registers in, on
UltraScale+ they stay outside.

MHz are nextpnr's, out of context, over the slow corner of the speed grade. The Gowin device wants a
pin for every port, so a block there stands between shift registers whose flip-flops count with it.

Refused are a `tile` whose products are not all DSP blocks between registers, and memories of a
`scratchpad` or an `accumulator` that are not block RAM though they are deep enough
({', '.join(f'{target}: {depth} words' for target, depth in DEEP.items())}).
"""

MACHINES = """## Whole machines on an ECP5-85

Measured by hand with `python -m synth.place --config NAME --speed 8 --freq 95`, so that a machine's
row above may be missing or of another day:

- **`ecp5_fp`** was routed at 80.8 MHz on speed grade 8, with 51,085 LUT4, 38,452 flip-flops, 67
  multipliers and 26 block RAMs of nextpnr. Of the longest path's 12.4 ns one net takes 7.6, the
  enable of the vector engine's instruction register, which hangs on the bit `active` alone since.
- **`ecp5`** is not routed. Mapped by blocks (below), nextpnr expected 78 MHz after placement, and
  router2 still had 30,000 wires in use twice after a quarter of an hour: with 153 of 156
  multipliers the machine lies all over the device (its wires were 545,000 units long, those of
  `ecp5_fp`, which is larger, 412,000). The longest path of a static estimate over the netlist, with
  0.62 ns and more for a net, was 9.7 ns before the decoder and the register lookup were shortened.
- **Tried: each block mapped by itself.** Yosys saves area wherever a path is shorter than the
  longest of all, until it is as long. Block by block the estimate for `ecp5` fell from 9.7 to
  8.6 ns, and mapping took half the time. But `ecp5_fp` took 52,932 LUT4 in place of 47,678, and
  reached 71.9 MHz when routed. So a machine is mapped as one.
- **Tried: router2's `--tmg-ripup`.** It goes on as long as any path misses what was asked for.
"""

PAIRS = """## Two products in one DSP block

The columns of a tile share their activations, so two products have an operand in common. A wide
multiplier makes both if one operand holds two weights, `w1 * 2^k + w0`. An operand is nine bits, a
byte less its zero point; their product needs 18 bits, and so `k` is 18 and the operand 27 bits
wide. Reasoned, except where it says measured:

- **ECP5: no.** MULT18X18D has operands of 18 bits. The silicon splits it into two 9 x 9
  multipliers, but Yosys maps nothing to them and nextpnr does not have the mode. Measured: a
  product takes one MULT18X18D.
- **Xilinx 7 series: no.** DSP48E1 has 25 x 18 bits, two bits short.
- **UltraScale+: as a trade.** The 27 bits of DSP48E2 just fit, and the adder before the multiplier
  can form the pair. The lower product is signed and borrows from the upper one, which takes an
  adder of 18 bits for each pair, and there is no spare bit between them, so that the sums cannot
  stay in the DSP blocks' cascade. It halves the DSP blocks for about nine LUTs more a product, and
  pays where DSP blocks run out before LUTs. It is not built.
- **Gowin GW2A: yes, by itself.** A DSP block splits into two 9 x 9 multipliers, and Yosys and
  nextpnr use them. Measured: a product takes one of the device's 96 MULT9X9.
"""


def page(known: Mapping[str, Rows]) -> str:
    """The text."""
    parts = [INTRODUCTION]
    for config, rows in known.items():
        parts.append(f"## `{config}`\n")
        for target, heading in HEADINGS.items():
            parts += _table(heading, target, rows)
    return "\n".join([*parts, MACHINES, PAIRS])


def _table(heading: str, target: str, rows: Rows) -> list[str]:
    found = {part: row[target] for part, row in rows.items() if target in row}
    columns = list(dict.fromkeys(c for f in found.values() for c in f if c != "error"))
    if not found:
        return []
    lines = [f"### {heading}\n", "| block | " + " | ".join(columns) + " |",
             "|---|" + "--:|" * len(columns)]
    for part, figures in found.items():
        cells = [_cell(figures.get(c, "")) for c in columns]
        if "error" in figures:
            cells = ["failed", *[""] * (len(columns) - 1)]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    lines += [f"\n`{part}` failed: {f['error']}" for part, f in found.items() if "error" in f]
    return [*lines, ""]


def _cell(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:,}"
