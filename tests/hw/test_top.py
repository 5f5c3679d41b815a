# SPDX-License-Identifier: Apache-2.0
"""The Verilog has the ports of the AXI standard and is the same wherever it is made."""

import os
import re
import subprocess
import sys

from hw.top import verilog
from isa.presets import PRESETS
from tests.hw.stub_engines import stubbed

SCRIPT = """
import hashlib
from hw.top import verilog
from isa.presets import PRESETS
from tests.hw.stub_engines import stubbed
with stubbed():
    print(hashlib.sha256(verilog(PRESETS["tiny"]).encode()).hexdigest())
"""

AXI_LITE = {"awaddr": 12, "awprot": 3, "awvalid": 1, "awready": 1, "wdata": 32, "wstrb": 4,
            "wvalid": 1, "wready": 1, "bresp": 2, "bvalid": 1, "bready": 1, "araddr": 12,
            "arprot": 3, "arvalid": 1, "arready": 1, "rdata": 32, "rresp": 2, "rvalid": 1,
            "rready": 1}
ADDRESS = {"id": 1, "addr": 32, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3,
           "qos": 4, "valid": 1, "ready": 1}
AXI = {**{c + n: w for c in ("aw", "ar") for n, w in ADDRESS.items()},
       "wdata": 64, "wstrb": 8, "wlast": 1, "wvalid": 1, "wready": 1, "bid": 1, "bresp": 2,
       "bvalid": 1, "bready": 1, "rid": 1, "rdata": 64, "rresp": 2, "rlast": 1, "rvalid": 1,
       "rready": 1, "aruser": 1}
INPUTS = {"s_axil_awaddr", "s_axil_rready", "m_axi_rdata", "m_axi_awready", "clk", "rst", "held"}


def test_ports():
    with stubbed():
        text = verilog(PRESETS["tiny"])
    body = text[text.index("module makalu("):]
    body = body[:body.index("endmodule")]
    ports = {name: (way, int(high or 0) + 1) for way, high, name in
             re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", body, re.M)}
    want = {"clk": 1, "rst": 1, "irq": 1, "held": 1,
            **{f"s_axil_{n}": w for n, w in AXI_LITE.items()},
            **{f"m_axi_{n}": w for n, w in AXI.items()}}
    assert {name: width for name, (_, width) in ports.items()} == want
    assert all(ports[name][0] == "input" for name in INPUTS)


def test_same_text_everywhere():
    sums = {subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True,
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout
            for seed in ("1", "2")}
    assert len(sums) == 1
