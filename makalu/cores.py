# SPDX-License-Identifier: Apache-2.0
"""How many cores are to run a network together, by the compiler's predictions of several numbers.

============  =====================================================================================
latency       as many as take the fewest cycles for an input
throughput    of all cores of a chip, groups of as many as infer the most in a time: each group has
              an input of its own, and all are at work
fewest        the fewest that take no more cycles for an input than a bound
============  =====================================================================================
"""

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.ir.errors import CompileError
from isa.program import Program
from makalu.plan import groups, in_groups

OBJECTIVES = ("latency", "throughput", "fewest")


@dataclass(frozen=True)
class Aim:
    """What is wanted.

    Parameters
    ----------
    objective : str
        One of :data:`OBJECTIVES`.
    most : int
        Cores that there are.
    bound : int, optional
        Cycles that an input may take at most.

    Raises
    ------
    compiler.ir.errors.CompileError
        If there is no such objective, or no core, or ``fewest`` has no bound.
    """

    objective: str = "latency"
    most: int = 4
    bound: int | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise CompileError(f"objective {self.objective!r}", "there is none of that name",
                               f"use one of {', '.join(OBJECTIVES)}")
        if self.most < 1:
            raise CompileError(f"{self.most} cores at most", "none is left to choose",
                               "use a number from 1 on")
        if self.objective == "fewest" and self.bound is None:
            raise CompileError("objective fewest", "it looks for the fewest cores that are quick "
                               "enough, and nothing says what that is",
                               "add --latency-bound CYCLES")


@dataclass(frozen=True)
class Tried:
    """A number of cores that run a network together.

    Parameters
    ----------
    program : Program
        For so many.
    groups : int
        How many such groups are at work at the same time, an input each.
    cycles : int
        Of an input then, predicted.
    """

    program: Program
    groups: int
    cycles: int

    @property
    def cores(self) -> int:
        """Of a group."""
        return self.program.ranks

    @property
    def rate(self) -> float:
        """Inputs in a million cycles."""
        return self.groups * 1e6 / self.cycles


@dataclass(frozen=True)
class Chosen:
    """The numbers of cores that were tried, the best of them for an aim, and what makes it that."""

    aim: Aim
    tried: list[Tried]
    best: Tried
    why: str


def choose(programs: Iterable[Program], aim: Aim) -> Chosen:
    """The program that serves an aim best; of those that do equally well, that of the fewest cores.

    Parameters
    ----------
    programs : iterable of Program
        The network for 1, 2, … cores. Of the objective ``fewest`` none is asked for behind the
        first that is quick enough.
    aim : Aim

    Raises
    ------
    compiler.ir.errors.CompileError
        If none keeps to the bound.
    """
    tried, good = list[Tried](), list[Tried]()
    for program in programs:
        tried.append(_tried(program, aim))
        if aim.bound is None or tried[-1].cycles <= aim.bound:
            good.append(tried[-1])
            if aim.objective == "fewest":
                break
    if not good:
        best = min(tried, key=lambda t: t.cycles)
        raise CompileError(
            f"latency bound of {aim.bound:,} cycles", f"the best is {best.cycles:,}, predicted, on "
            f"{best.cores} of up to {tried[-1].cores} cores", "allow as many cycles, more cores "
            "with --max-cores, or a larger --config")
    best = max(good, key=lambda t: t.rate if aim.objective == "throughput" else -t.cycles)
    return Chosen(aim, tried, best, _why(best, aim))


def _tried(program: Program, aim: Aim) -> Tried:
    if aim.objective == "throughput":
        return Tried(program, groups(program, aim.most), in_groups(program, aim.most))
    return Tried(program, 1, sum(program.predicted_cycles))


def _why(best: Tried, aim: Aim) -> str:
    within = "" if aim.bound is None else f" of those with at most {aim.bound:,} cycles"
    if aim.objective == "latency":
        return f"the fewest cycles for an input{within}"
    if aim.objective == "fewest":
        return f"the fewest cores{within}"
    return (f"{best.groups} x {best.cores} of {aim.most} cores infer the most in a time{within}")
