# SPDX-License-Identifier: Apache-2.0
"""What an FPGA engineer and a driver's author take away: Verilog, register map, packaging scripts.

==================  ==============================================================================
``makalu.v``        the machine in one file of Verilog-2001, top module ``makalu``
``makalu.h``        the register map for C
``registers.json``  the same for other languages
``makalu.core``     a FuseSoC core (CAPI2)
``makalu_ip.tcl``   packages a Vivado IP: ``vivado -mode batch -source makalu_ip.tcl``
``ports.md``        ports and the configuration
==================  ==============================================================================

The same configuration gives the same bytes, wherever it is made.
"""

import dataclasses
import json
import re
from pathlib import Path

from isa.chip import ChipConfig
from isa.config import ISA_VERSION, Config
from isa.instructions import FAULT_TEXT, Region
from isa.registers import IDENT, MASK, REGISTERS, REGISTER_SPACE_BITS
import makalu
from sim.build import rtl
from sim.chip import chip_rtl

TOP = "makalu"

ASSERTION = re.compile(r"^ *assert \(.*\);\n", re.MULTILINE)
"""The only statement that is not Verilog-2001. What it checks is printed by the one before it."""

PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+) ?;", re.MULTILINE)

BUSES = {"s_axil": "AXI4-Lite slave: registers", "m_axi": "AXI4 master: memory"}


def files(config: Config) -> dict[str, str]:
    """The contents of all files by name."""
    verilog = source(config)
    return {"makalu.v": verilog, "makalu.h": header(config), "registers.json": registers(config),
            "makalu.core": fusesoc(config), "makalu_ip.tcl": vivado(config),
            "ports.md": ports_page(config, verilog)}


def write(config: Config, folder: Path) -> list[Path]:
    """Write all files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files(config).items():
        paths.append(folder / name)
        paths[-1].write_text(text)
    return paths


def _facts(config: Config) -> list[str]:
    fields = dataclasses.asdict(config)
    return [(f"configuration {fields.pop('name')}, hash {config.hash:016x}, instruction set "
             f"{ISA_VERSION[0]}.{ISA_VERSION[1]}, makalu {makalu.__version__}"),
            ", ".join(f"{k} {v}" for k, v in fields.items() if k != "dtypes")
            + f", dtypes {' '.join(config.dtypes)}"]


def source(config: Config, gated: bool = False) -> str:
    """The machine's Verilog behind a comment that says which one it is; with ``gated`` clocks for
    an ASIC."""
    return _commented([*_facts(config)], "held: 0. s_axil_*: registers, see makalu.h. m_axi_*: "
                      "memory, INCR bursts of full beats.", rtl(config, gated=gated))


def chip_source(chip: ChipConfig, gated: bool = False) -> str:
    """The same for a chip, top module ``chip``."""
    facts = [(f"chip {chip.name}, hash {chip.hash:016x}: {chip.cores} cores, {chip.channels} "
              "memory channels"), *_facts(chip.core)]
    return _commented(facts, "s_axil_*: registers, see docs/registers.md. m0_axi_*, …: memory "
                      "channels, INCR bursts of full beats.", chip_rtl(chip, gated))


def _commented(facts: list[str], ports: str, verilog: str) -> str:
    lines = ["SPDX-License-Identifier: Apache-2.0", "", "Makalu, an open inference accelerator.",
             *facts, "", "clk: all logic; rst: synchronous, high for two cycles or more.", ports,
             "", "Made by `makalu verilog`; change the generator, not this file."]
    comment = "".join(f"// {line}".rstrip() + "\n" for line in lines)
    return comment + "\n" + ASSERTION.sub("", verilog)


def ports(verilog: str) -> list[tuple[str, str, int]]:
    """Direction, name and width of each port of the top module."""
    body = verilog[verilog.index(f"module {TOP}("):]
    body = body[:body.index("endmodule")]
    return sorted(((way, name, int(high or 0) + 1) for way, high, name in PORT.findall(body)),
                  key=lambda p: (p[1].split("_")[0] not in ("clk", "rst", "irq", "held"), p[1]))


def ports_page(config: Config, verilog: str) -> str:
    """``ports.md``."""
    rows = [f"| `{name}` | {way} | {width} |" for way, name, width in ports(verilog)]
    fields = [f"| `{k}` | {v if not isinstance(v, tuple) else ' '.join(v)} |"
              for k, v in dataclasses.asdict(config).items()]
    buses = [f"`{prefix}_*`: {text}." for prefix, text in BUSES.items()]
    return "\n".join([f"# Ports of `{TOP}`, configuration `{config.name}`", "", *_facts(config)[:1],
                      "", " ".join(buses), "", "| port | direction | bits |", "|---|---|--:|",
                      *rows, "", "# Configuration", "", "| field | value |", "|---|---|", *fields,
                      ""])


def header(config: Config) -> str:
    """``makalu.h``: offsets, and shifts and masks of the fields that have a name."""
    lines = [f"/* {line} */" for line in ["SPDX-License-Identifier: Apache-2.0",
                                          "Registers of Makalu: " + _facts(config)[0]]]
    lines += ["#ifndef MAKALU_H", "#define MAKALU_H", "",
              f"#define MAKALU_IDENT_VALUE 0x{IDENT:08x}u",
              f"#define MAKALU_CONFIG_HASH_VALUE 0x{config.hash:016x}ull",
              f"#define MAKALU_REGISTER_BYTES 0x{1 << REGISTER_SPACE_BITS:x}u"]
    for r in REGISTERS:
        lines += ["", f"/* {r.access}: {r.doc} */", f"#define MAKALU_{r.name} 0x{r.offset:03x}u"]
        for low, _, name, doc in r.bits:
            lines += [f"#define MAKALU_{r.name}_{name}_SHIFT {low} /* {doc} */",
                      f"#define MAKALU_{r.name}_{name}_MASK 0x{MASK[f'{r.name}.{name}']:08x}u"]
    lines.append("")
    lines += [f"#define MAKALU_REGION_{region.name} {int(region)}" for region in Region]
    lines.append("")
    lines += [f"#define MAKALU_FAULT_{fault.name} {int(fault)} /* {text} */"
              for fault, text in FAULT_TEXT.items()]
    return "\n".join([*lines, "", "#endif", ""])


def registers(config: Config) -> str:
    """``registers.json``."""
    return json.dumps({
        "name": TOP, "configuration": config.name, "config_hash": f"{config.hash:016x}",
        "isa_version": list(ISA_VERSION), "address_bits": REGISTER_SPACE_BITS,
        "registers": [{
            "name": r.name, "offset": r.offset, "access": r.access, "description": r.doc,
            "fields": [{"name": name, "bit": low, "width": width, "description": doc}
                       for low, width, name, doc in r.bits]} for r in REGISTERS],
        "regions": {r.name: int(r) for r in Region},
        "faults": {f.name: {"code": int(f), "description": t} for f, t in FAULT_TEXT.items()}},
        indent=1) + "\n"


def fusesoc(config: Config) -> str:
    """``makalu.core``."""
    return f"""\
CAPI=2:
# SPDX-License-Identifier: Apache-2.0
name: "::makalu-{config.name}:{makalu.__version__}"
description: "Makalu inference accelerator, configuration {config.name} ({config.hash:016x})"

filesets:
  rtl:
    files:
      - makalu.v
    file_type: verilogSource-2001

targets:
  default: &default
    filesets: [rtl]
    toplevel: {TOP}
  lint:
    <<: *default
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
  synth:
    <<: *default
    default_tool: vivado
"""


def vivado(config: Config) -> str:
    """``makalu_ip.tcl``."""
    return f"""\
# SPDX-License-Identifier: Apache-2.0
# Packages makalu.v (configuration {config.name}, {config.hash:016x}) as a Vivado IP in ./ip.
set here [file dirname [file normalize [info script]]]
create_project -in_memory -part [lindex [get_parts] 0]
add_files -norecurse [file join $here makalu.v]
set_property top {TOP} [current_fileset]
ipx::package_project -root_dir [file join $here ip] -vendor makalu -library ip -name {TOP} \\
  -taxonomy /UserIP -import_files -set_current true
set core [ipx::current_core]
set_property display_name "Makalu {config.name}" $core
set_property description "Inference accelerator, configuration hash {config.hash:016x}" $core
set_property version {makalu.__version__.rpartition('.')[0]} $core
# s_axil and m_axi are inferred from the names of their ports
ipx::infer_bus_interface clk xilinx.com:signal:clock_rtl:1.0 $core
ipx::infer_bus_interface rst xilinx.com:signal:reset_rtl:1.0 $core
ipx::infer_bus_interface irq xilinx.com:signal:interrupt_rtl:1.0 $core
ipx::associate_bus_interfaces -busif s_axil -clock clk $core
ipx::associate_bus_interfaces -busif m_axi -clock clk $core
set polarity [ipx::add_bus_parameter POLARITY [ipx::get_bus_interfaces rst -of_objects $core]]
set_property value ACTIVE_HIGH $polarity
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
"""
