# SPDX-License-Identifier: Apache-2.0
"""``docs/synthesis.md`` of the figures in ``docs/synthesis.json``."""

from collections.abc import Mapping
from typing import Any

from synth.blocks import PARTS
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
blocks; `array` is a tile with its accumulator, `scratchpad` has one read port and one write port
here, and `makalu` is the whole machine.
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

Their rows `makalu` under *the whole machine placed and routed* take half an hour each; nothing else
here is measured for so long. What made the difference, in the order of its weight:

- **Places for multipliers and block RAMs** ([synth/floorplan.py](../synth/floorplan.py)). With 153
  of 156 multipliers taken, nextpnr leaves the columns of `ecp5` all over the device: its wires are
  545,000 units long, and router2 has 30,000 of them in use twice after a quarter of an hour. With
  a place for each multiplier they are 390,000 units long, and router2 comes down to 1,800 and goes
  astray from there: the lower third of the device is empty, and block RAMs of one memory lie in
  rows far from each other. With a place for each block RAM, too, and the PSUM banks and the
  post-processors' multipliers next to the empty third, they are 359,000 units long, and router2
  is done after 45 iterations.
- **Parameters of the post-processor in memories**
  ([hw/tensor/parameters.py](../hw/tensor/parameters.py)) in place of two sets of registers with a
  multiplexer: 2,000 flip-flops less, no enable with a thousand readers; 332,000 units.
- **Registers on long ways.** Bank, multiplexer and the buffer behind it were one path, 13.3 ns by
  the distances of the placement; a bank's word goes into the block RAM's own output register now.
  Then the routed clock was that of one net from the feeder to the far tile (13.3 ns, 73.0 MHz), of
  a reset of 3,300 registers, most of which need none (90.8 MHz), of the weights, one register for
  both tiles (95.3 MHz).
- **A copy for each tile** ([synth/copies.py](../synth/copies.py)). Synthesis takes equal registers
  of tiles that work in step for one, and their wires cross the device: the routed clock was that of
  the address of the PSUM banks (82.4 MHz), with another seed that of the swap of the weights
  (78.6 MHz). 485 registers and LUTs are there twice now, and the same state reaches 103.3 MHz.
- **ABC counts 900 ps for a wire** ([synth/ecp5.py](../synth/ecp5.py)), Yosys 300. The output of a
  block RAM comes 3.9 ns after the clock, and against that paths of eight LUTs with short wires
  look harmless. It takes 1 % more LUT4, and the longest path of an estimate over the netlist that
  counts 0.62 ns and more for a wire fell from 9.2 to 8.8 ns.
- **No ground for small memories** ([synth/ecp5.py](../synth/ecp5.py)): 2,400 wires less from one
  corner to all of the device.
- **Tried: each block mapped by itself.** The same estimate fell from 9.7 to 8.6 ns, but `ecp5_fp`
  took 52,932 LUT4 in place of 47,678, and reached 71.9 MHz when routed.
- **Tried: router2's `--tmg-ripup`.** It goes on as long as any path misses what was asked for.
  **`--router2-alt-weights`** stays at some 6,000 wires in use twice on `ecp5_fp`, 9,000 on `ecp5`.
  `--placer-heap-beta` and the frequency asked for change nothing.

**LUTs for each multiplier.** `ecp5` has 128. On the ECP5 that is 282 LUT4; on the 7 series
204 LUT6 as Yosys counts them, 151 if small ones are paired, which a placer for that family does
(*LUT, paired*). With another machine only equal sizes can be compared, since what lies behind the
array does not grow with it. At 64 multipliers, in one flow (Yosys, `synth_xilinx -family xc7`,
flattened), this machine (`ecp5` with one tile) takes 328 LUT, 244 if small ones are paired, and 385
flip-flops for each; Tensil's 8 x 8 array of 16-bit elements 189 and 94. Published for NVDLA's
`nv_small`, 64 multipliers as well: 1,280 LUT for each.
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
    found = {part: rows[part][target] for part in PARTS if target in rows.get(part, {})}
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
