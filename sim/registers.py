# SPDX-License-Identifier: Apache-2.0
"""Registers that take their next value themselves, in the Verilog that is simulated.

Amaranth writes a register as a combinational block for its next value, and a clocked one that takes
it. Verilator evaluates the first whenever anything changes in front of it, also while the
register's clock stands still, and moves every value twice. Here the two are one::

    always @* begin                       always @(posedge core_clk) begin
      \\$8  = room;                           if (\\$2 ) begin
      if (\\$2 ) begin                          room <= \\$5 [4:0];
        \\$8  = \\$5 [4:0];                     end
      end                                 end
    end
    always @(posedge core_clk)
      room <= \\$8 ;

where nothing else reads the next value. The register keeps its name and its value in each cycle.
"""

import re

from hw.parts.one_module import MODULE

NAME = r"(?:\\\S+ |\w+)"
CLOCKED = re.compile(rf"^  always @\((posedge \w+)\)\n    ({NAME}) ?<= ({NAME});\n", re.MULTILINE)
BLOCK = re.compile(r"^  always @\* begin\n    if \(\S+ \) begin end\n(.*?)^  end\n",
                   re.MULTILINE | re.DOTALL)
ASSIGNED = re.compile(rf"^ +({NAME}) ?(?:\[[\d:]+\] )?= ", re.MULTILINE)
WORD = re.compile(rf"{NAME}")


def registers(text: str) -> str:
    """The same design; see above."""
    return MODULE.sub(lambda m: _module(m[0]), text)


def _module(text: str) -> str:
    nexts = {m[3]: m for m in CLOCKED.finditer(text)}
    uses: dict[str, int] = {}
    for name in WORD.findall(text):
        uses[name] = uses.get(name, 0) + 1
    merged: set[str] = set()

    def block(m: re.Match[str]) -> str:
        names = ASSIGNED.findall(m[1])
        clocked = nexts.get(names[0])
        # declared, taken, and assigned here
        if clocked is None or len({*names}) > 1 or uses[names[0]] != 2 + len(names):
            return m[0]
        merged.add(names[0])
        register = clocked[2]
        keeps = f"    {names[0]} = {register.rstrip(' ')}{' ' * register.startswith(chr(92))};\n"
        body = m[1].removeprefix(keeps)
        body = re.sub(rf"^( +){re.escape(names[0])}( ?\[[\d:]+\])? ?= ",
                      lambda a: f"{a[1]}{register}{a[2] or ''} <= ", body, flags=re.MULTILINE)
        return f"  always @({clocked[1]}) begin\n{body}  end\n"

    text = BLOCK.sub(block, text)
    text = CLOCKED.sub(lambda m: "" if m[3] in merged else m[0], text)
    return re.sub(rf"^  reg (?:\[\d+:0\] )?({NAME}) ?;\n",
                  lambda m: "" if m[1] in merged else m[0], text, flags=re.MULTILINE)
