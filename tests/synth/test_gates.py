# SPDX-License-Identifier: Apache-2.0
"""Blocks as the cells of an ECP5: what the array adds is what the golden model says."""

import dataclasses
import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from hw.top import verilog_of
from isa.presets import PRESETS
from sim.cocotb_runner import get_runner
from synth.array import Array
from synth.blocks import component
from synth.ecp5 import synthesize
from synth.gates import MODEL, WITHOUT, gates, models
from synth.yosys import run

TINY = PRESETS["tiny"]

QUIET = ["-Wno-lint", "-Wno-style", "-Wno-SPECIFYIGN", "-Wno-INITIALDLY"]
"""Yosys's models have delays and what lint does not like."""

FAST_BUILD = ["-CFLAGS", "-O0"]
"""g++ takes a minute to optimize what then runs for a second."""


def beside(ports: dict[str, tuple[str, int]]) -> str:
    """A module ``both`` of the array's ports that has it twice, ``array`` from cells and ``rtl``;
    its outputs are those of the cells, and ``same`` says whether the others are equal."""
    def wires(kind: str, ending: str = "") -> list[str]:
        return [f"{kind} [{bits - 1}:0] {name}{ending}"
                for name, (direction, bits) in ports.items() if direction == kind]

    outputs = [n for n, (direction, _) in ports.items() if direction == "output"]
    pins = {name: ", ".join(f".{n}({n}{name if n in outputs else ''})" for n in ports)
            for name in ("", "_rtl")}
    return "\n".join([
        f"module both({', '.join(wires('input') + wires('output'))}, output same);",
        *(f"wire{w.removeprefix('output')};" for w in wires("output", "_rtl")),
        f"array cells({pins['']});", f"rtl golden({pins['_rtl']});",
        f"assign same = {{{', '.join(outputs)}}} === {{{', '.join(f'{n}_rtl' for n in outputs)}}};",
        "endmodule\n"])


@pytest.mark.long
def test_the_array_of_cells_adds(tmp_path):
    """Tile and accumulator, with the multiplier's model of this repository."""
    mapped, (folder, cells), array = gates(TINY, "array"), models(), Array(TINY)
    assert mapped.cells["MULT18X18D"] == TINY.macs
    texts = {"array.v": mapped.text, "rtl.v": verilog_of(array, "rtl"),
             "both.v": beside(mapped.ports)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    runner = get_runner()
    runner.build(sources=[*cells, *(tmp_path / name for name in texts)], includes=[folder],
                 defines={WITHOUT: 1}, hdl_toplevel="both", build_dir=tmp_path,
                 build_args=QUIET + FAST_BUILD)
    runner.test(test_module="tests.synth.bench_array", hdl_toplevel="both",
                extra_env={"BENCH_CONFIG": json.dumps(dataclasses.asdict(TINY)),
                           "BENCH_LATENCY": str(array.latency)})


def test_the_model_of_the_multiplier(tmp_path):
    """Each operand signed or not, at its extremes and between."""
    pins = ", ".join([f".{port}{k}({port.lower()}[{k}])" for port in "AB" for k in range(18)]
                     + [f".P{k}(p[{k}])" for k in range(36)])
    text = (MODEL.read_text() + "module top(input [17:0] a, b, input sa, sb, output [35:0] p);\n"
            f"MULT18X18D m({pins}, .SIGNEDA(sa), .SIGNEDB(sb), .SOURCEA(1'b0), .SOURCEB(1'b0));\n"
            "endmodule\n")
    values = (0, 1, 0x1FFFF, 0x20000, 0x3FFFF, 0x2A5C3)
    cases = [(a, b, sa, sb) for a in values for b in values for sa in (0, 1) for sb in (0, 1)]
    run(text, "top", ["hierarchy -top top", "proc", "flatten", *(
        f"tee -q -a said.txt eval -set a 18'd{a} -set b 18'd{b} -set sa 1'd{sa} -set sb 1'd{sb} "
        "-show p" for a, b, sa, sb in cases)], tmp_path)
    got = re.findall(r"p = 36'([01]+)", (tmp_path / "said.txt").read_text())
    want = [(a - (sa * (a >> 17) << 18)) * (b - (sb * (b >> 17) << 18)) for a, b, sa, sb in cases]
    assert [int(p, 2) for p in got] == [p % 2 ** 36 for p in want]


def test_elements_of_a_port(tmp_path):
    """A block whose port is an array of structures can be mapped."""
    block = component(PRESETS["ecp5"], "store")
    module = synthesize(verilog_of(block, "store"), "store", tmp_path / "store.json")
    assert len(module["ports"]["regions"]["bits"]) == len(block.regions.as_value())


def test_registers_go_into_the_block(tmp_path):
    """Those around a product; not those with a reset, nor one that something else reads, too."""
    def cells(product: str, reads: str = "") -> Counter[str]:
        text = f"""module top(input clk, rst, en, input signed [8:0] a, b,
                       output reg signed [17:0] p, output [17:0] q);
            reg signed [8:0] x, y;
            always @(posedge clk) x <= a;
            always @(posedge clk) if (en) y <= b;
            always @(posedge clk) {product}
            assign q = {reads or "0"};
        endmodule"""
        module = synthesize(text, "top", tmp_path / "top.json")
        found = Counter(c["type"] for c in module["cells"].values())
        (block,) = (c for c in module["cells"].values() if c["type"] == "MULT18X18D")
        for register in ("INPUTA", "OUTPUT"):
            found[register] = int(block["parameters"].get(f"REG_{register}_CLK") == "CLK0")
        if found["INPUTA"]:
            assert len(block["connections"]["CE1"]) == 1
        return found

    inside = cells("p <= x * y;")
    assert (inside["INPUTA"], inside["OUTPUT"], inside["TRELLIS_FF"]) == (1, 1, 0)
    reset = cells("if (rst) p <= 0; else p <= x * y;")
    assert (reset["INPUTA"], reset["OUTPUT"], reset["TRELLIS_FF"]) == (1, 0, 18)
    both = cells("p <= x * y;", "x")
    assert (both["INPUTA"], both["OUTPUT"], both["TRELLIS_FF"]) == (1, 1, 9)
    early = cells("p <= x * y;", "x * y")
    assert (early["INPUTA"], early["OUTPUT"]) == (1, 0)


def test_registers_behind_a_memory_are_its_own(tmp_path):
    """Those that are all that reads it, in every cycle, without a reset."""
    def cells(word: str, reads: str = "") -> tuple[int, str]:
        text = f"""module top(input clk, rst, en, we, input [10:0] at, input [7:0] d,
                       output reg [7:0] q, output [7:0] r);
            reg [7:0] ram [0:2047], x;
            always @(posedge clk) begin if (we) ram[at] <= d; x <= ram[at]; end
            always @(posedge clk) {word}
            assign r = {reads or "0"};
        endmodule"""
        found = synthesize(text, "top", tmp_path / "top.json")["cells"].values()
        (memory,) = (c for c in found if c["type"] == "DP16KD")
        return (sum(c["type"] == "TRELLIS_FF" for c in found),
                "".join(str(memory["parameters"][f"REGMODE_{port}"]) for port in "AB"))

    for word, reads, flip_flops in (
            ("q <= x;", "", 0), ("q <= x;", "x", 8), ("if (en) q <= x;", "", 8),
            ("if (rst) q <= 0; else q <= x;", "", 8), ("q <= x + 1;", "", 8)):
        left, modes = cells(word, reads)
        assert left == flip_flops
        assert ("OUTREG" in modes) == (flip_flops == 0)


def test_small_memories_need_no_ground(tmp_path):
    """A LUT RAM of four words: each stays one place of its own, for reading and for writing, and
    begins with its word."""
    text = """module top(input clk, we, input [1:0] at, from, input [3:0] d, output [3:0] q);
        reg [3:0] ram [0:3];
        initial begin ram[0] = 9; ram[1] = 3; ram[2] = 14; ram[3] = 5; end
        always @(posedge clk) if (we) ram[at] <= d;
        assign q = ram[from];
    endmodule"""
    module = synthesize(text, "top", tmp_path / "top.json")
    (memory,) = (c for c in module["cells"].values() if c["type"] == "TRELLIS_DPR16X4")
    pins, begins = memory["connections"], memory["parameters"]["INITVAL"]
    assert not {"0", "1"} & {*pins["RAD"], *pins["WAD"]}
    for word, value in enumerate((9, 3, 14, 5)):
        places = set()
        for port, pin in (("at", "WAD"), ("from", "RAD")):
            low, high = module["ports"][port]["bits"]
            signals = {low: word & 1, high: word >> 1}
            places.add(sum(signals[net] << bit for bit, net in enumerate(pins[pin])))
        (place,) = places
        end = len(begins) - 4 * place
        assert int(begins[end - 4:end], 2) == value


@pytest.mark.parametrize("arguments, words", [
    (["--config", "ecp5", "--block", "accumulator"], [
        "accumulator of ecp5 has", "DP16KD (block RAM)", "with smaller memories"]),
    (["--config", "core512", "--block", "tile"], ["no configuration 'core512'", "tiny"]),
    (["--block", "memory", "-o", "/dev/null/gates"], ["/dev/null/gates"])])
def test_errors_are_a_sentence(arguments, words):
    done = subprocess.run([sys.executable, "-m", "synth.gates", *arguments], capture_output=True,
                          text=True)
    assert done.returncode == 1 and done.stderr.startswith("makalu: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
