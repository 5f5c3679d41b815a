# SPDX-License-Identifier: Apache-2.0
"""How many cores a network is compiled for: a number, or what serves an objective best."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import click

from isa.chip import MOST_CORES
from isa.instructions import MOST_RANKS
from isa.program import Program
from makalu.cli import console
from makalu.cli.options import How, compile_each, given_by_default
from makalu.cores import OBJECTIVES, Aim, Chosen, Tried, choose
from makalu.text import number

AUTO = "auto"


class _Cores(click.ParamType):
    """A number of cores, or :data:`AUTO`."""

    name = "cores"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None
                ) -> int | str:
        if value == AUTO:
            return AUTO
        try:
            return int(click.IntRange(1, MOST_RANKS).convert(value, param, ctx))
        except click.BadParameter as e:
            self.fail(f"{e.message} Or write {AUTO}, which tries several.", param, ctx)


def cores_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """The options, which the command gets as ``cores``: a number, or an aim."""
    @functools.wraps(f)
    def command(*, cores: int | str, objective: str, max_cores: int, latency_bound: int | None,
                **others: Any) -> Any:
        ctx = click.get_current_context()
        given = [name for name in ("objective", "max_cores", "latency_bound")
                 if not given_by_default(ctx, name)]
        if cores != AUTO and given:
            raise click.ClickException(f"--{given[0].replace('_', '-')} says how the number of "
                                       f"cores is chosen: add --cores {AUTO}")
        return f(cores=Aim(objective, max_cores, latency_bound) if cores == AUTO else cores,
                 **others)

    for option in reversed((
            click.option("--cores", type=_Cores(), default=1, show_default=True,
                         metavar="N|auto", help="Cores that run the network together, each input "
                         "on all of them: a program for a chip, or for the golden model. auto: 1, "
                         "2, 3, … are compiled for and compared, which takes as many times as "
                         "long, and --objective says what is best."),
            click.option("--objective", type=click.Choice(OBJECTIVES), default="latency",
                         show_default=True, help="With --cores auto. latency: as many cores as "
                         "take the fewest cycles for an input; more are not always quicker, since "
                         "they wait for one another. throughput: of a chip of --max-cores cores, "
                         "groups of as many as infer the most in a time, one core an input or "
                         "several. fewest: the fewest cores that keep to --latency-bound."),
            click.option("--max-cores", type=click.IntRange(1, MOST_CORES), default=4,
                         show_default=True, metavar="N", help="With --cores auto: cores of the "
                         f"chip. Up to as many are tried together, and up to {MOST_RANKS}."),
            click.option("--latency-bound", type=click.IntRange(1), metavar="CYCLES",
                         help="With --cores auto: cycles that an input may take at most, as "
                         "predicted; with throughput while all groups are at work.  [default: any "
                         "number]"))):
        command = option(command)
    return command


def compile_best(model: str, how: How, aim: Aim) -> Chosen:
    """Compile a model for several numbers of cores, say what each comes to, and take the best."""
    def said() -> Iterator[Program]:
        for program in compile_each(model, how, range(1, min(aim.most, MOST_RANKS) + 1)):
            console.err.print(f"{_cores(program.ranks)}: {sum(program.predicted_cycles):,} cycles "
                              "an input, predicted")
            yield program
    return choose(said(), aim)


def show(chosen: Chosen) -> None:
    """What was tried, and why one was taken."""
    aim = chosen.aim
    shared = aim.objective == "throughput"
    headings = ["cores", *["groups"] * shared, "cycles an input", "times as fast as one core",
                *["inputs in a million cycles"] * shared]
    rows = [[str(t.cores), *[str(t.groups)] * shared, number(t.cycles, 0),
             number(chosen.tried[0].cycles / t.cycles, 2), *[number(t.rate, 1)] * shared,
             "taken" if t is chosen.best else ""] for t in chosen.tried]
    where = f"a chip of {aim.most} cores, all at work" if shared else "an input alone"
    console.out.print(console.table(
        f"{chosen.best.program.name} over several cores, {where}, predicted",
        [*((heading, "right") for heading in headings), ("", "left")], rows))
    console.out.print(f"{_cores(chosen.best.cores)}: {chosen.why}")


def as_data(chosen: Chosen) -> dict[str, Any]:
    """The same for ``--json``."""
    aim = chosen.aim

    def row(t: Tried) -> dict[str, Any]:
        return {"cores": t.cores, "groups": t.groups, "cycles": t.cycles,
                "inputs_in_a_million_cycles": round(t.rate, 3)}
    return {"objective": aim.objective, "max_cores": aim.most, "latency_bound": aim.bound,
            "why": chosen.why, "tried": list(map(row, chosen.tried))}


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count > 1)}"
