# SPDX-License-Identifier: Apache-2.0
"""A design with assertions, and what a model checker says of them.

::

    component ─► RTLIL ─► Yosys: gates, assumptions as constraints ─► AIGER ─► ABC: bmc3, then
    induction, with registers that are always equal taken for one, then pdr

A component under proof is an ordinary one. Its ``In`` members are free: they may have any value in
any cycle that its ``Assume`` statements allow. Its ``Assert`` statements, and those of everything
inside it, are what is to be proved, from the initial values of the registers on. Its member
``reached`` is high in a cycle in which the property says something of interest; a design that
cannot get there, because its assumptions contradict one another, would prove anything, and so is
refused.
"""

import re
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyosys
from amaranth.back import rtlil  # type: ignore[attr-defined]
from amaranth.hdl import Assert, ClockDomain, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring

from synth.yosys import SynthesisError, commands_only

TO_GATES = ["flatten", "memory_map", "async2sync", "chformal -lower", "dffunmap",
            "techmap t:$shl", "simplemap", "setundef -anyseq", "opt_clean", "aigmap", "opt_clean",
            "write_aiger -zinit -L -map design.map design.aig"]
TOP = "top"
KINDS = {"claims": [], "reached": [f"chformal -assert -remove * {TOP} %d"]}
"""What of the design's own assertions stays when they are checked, and when it is checked whether
``reached`` stays low."""

ABC = Path(pyosys.__file__).parent / "yosys-abc"

STEPS = 4
"""Cycles in a row in which a property holds, behind which induction looks for one in which it does
not: in all of the first ones it was found to hold."""

DEADLINE = 60
"""Seconds that the search for a proof may go beyond what it was given."""


class Design(wiring.Component):
    """A component under proof.

    Attributes
    ----------
    reached : Signal
        The property says something of interest in this cycle.
    """

    reached: Signal


class Vacuous(RuntimeError):
    """The property says nothing: what it speaks of cannot happen under its assumptions."""


@dataclass(frozen=True)
class Result:
    """What is known of a property.

    Parameters
    ----------
    proved : bool
        It holds in every cycle of every run.
    cycles : int
        It holds in that many first cycles of every run; or it fails in the last of them.
    seconds : float
        Time of the checker.
    trace : list of dict, optional
        Inputs that break it, by cycle: those that are not zero.
    """

    proved: bool
    cycles: int
    seconds: float
    trace: list[dict[str, int]] | None = None

    @property
    def holds(self) -> bool:
        """No run that breaks it is known."""
        return self.trace is None

    def __str__(self) -> str:
        if self.trace is not None:
            return f"fails in cycle {self.cycles - 1}"
        return "proved" if self.proved else f"holds for {self.cycles} cycles"


def check(design: Design, cycles: int, seconds: int = 0) -> Result:
    """Look for a run that breaks the design, then for a proof that there is none.

    Parameters
    ----------
    design : Design
    cycles : int
        Length of the runs that are all tried.
    seconds : int
        For the proof; 0: none is tried.

    Raises
    ------
    Vacuous
        If ``reached`` stays low in all of these runs.
    synth.yosys.SynthesisError
        If a tool fails.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _gates(design, "reached", folder)
        if _search(folder, f"bmc3 -F {cycles}") is None:
            raise Vacuous(f"{type(design).__name__}: nothing of interest happens in {cycles} "
                          "cycles")
        _gates(design, "claims", folder)
        broken = _search(folder, f"bmc3 -F {cycles}")
        if broken is not None:
            return Result(False, len(broken), time.monotonic() - start, broken)
        proved = bool(seconds) and any(
            said in _abc(folder, commands, seconds + DEADLINE) for commands, said in (
                (["orpos", "scorr", f"ind -F {min(STEPS, cycles)} -T {seconds}"],
                 "Networks are equivalent"),
                ([f"pdr -T {seconds}"], "Property proved")))
    return Result(proved, cycles, time.monotonic() - start)


def _gates(design: Design, kind: str, folder: Path) -> None:
    """``design.aig`` and ``design.map``."""
    m = Module()
    domain: Any = ClockDomain("sync", reset_less=True)
    m.domains.sync = domain
    m.submodules.design = design
    if kind == "reached":
        m.d.comb += Assert(~design.reached)
    ports = [Value.cast(value) for _, member, value in design.signature.flatten(design)
             if member.flow is wiring.In]
    whole: Elaboratable = m
    (folder / "design.il").write_text(rtlil.convert(
        whole, name=TOP, ports=[domain.clk, *ports], emit_src=False))
    commands_only(type(design).__name__, [
        "read_rtlil design.il", "hierarchy -auto-top", *KINDS[kind], "proc",
        *TO_GATES], folder)


def _search(folder: Path, command: str) -> list[dict[str, int]] | None:
    """Inputs of a run that makes an assertion fail, by cycle, if the command finds one."""
    found = folder / "found.cex"
    found.unlink(missing_ok=True)
    said = _abc(folder, [command, f"write_cex -n -f {found.name}"], None)
    if not found.exists():
        if "No output asserted" not in said:
            raise SynthesisError(f"the search came to no end:\n{said}")
        return None
    inputs = {int(number): (name, int(bit)) for number, bit, name in re.findall(
        r"^input (\d+) (\d+) (.*)$", (folder / "design.map").read_text(), re.M)}
    trace: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for number, cycle, value in re.findall(r"\bpi(\d+)@(\d+)=([01])", found.read_text()):
        at = trace[int(cycle)]
        if value == "1" and int(number) in inputs:
            name, bit = inputs[int(number)]
            at[name] = at.get(name, 0) | 1 << bit
    return [trace[cycle] for cycle in range(max(trace) + 1)]


def _abc(folder: Path, commands: Sequence[str], timeout: int | None) -> str:
    """What ABC says, given the design with its constraints as part of the property."""
    try:
        done = subprocess.run([ABC, "-c", "; ".join(["read_aiger design.aig", "fold", *commands])],
                              cwd=folder, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    if done.returncode or "** cmd error" in done.stdout:
        raise SynthesisError(f"ABC failed:\n{done.stdout}{done.stderr}")
    return done.stdout
