# SPDX-License-Identifier: Apache-2.0
"""The commands that give an account of a run: where its cycles went, and where it went wrong."""

from pathlib import Path

import click

from isa.chip import CHIPS
from makalu import api
from makalu.cli import console
from makalu.cli.options import (How, compile_options, cores_option, json_option, load_runnable,
                                of_chip)


@click.command()
@click.argument("net")
@compile_options
@click.option("-o", "--output", metavar="FOLDER",
              help="Write the timeline as a picture and for Perfetto.")
@click.option("--device", type=click.Choice(("rtl", *CHIPS)), default="rtl", show_default=True,
              metavar="NAME", help="rtl (one machine), or a chip, whose cores run an input each: "
                                   f"{', '.join(CHIPS)}.")
@cores_option
@click.option("--seed", default=0, show_default=True, help="Of the random inputs.")
@json_option
def profile(net: str, how: How, output: str | None, device: str, cores: int | None, seed: int,
            as_json: bool) -> None:
    """Run NET (.mkl or .onnx) once on the simulated hardware and show where its cycles went: layer
    by layer, and engine by engine; of a chip core by core, side by side. A program for several
    cores (makalu compile --cores) runs once on all of them together.

    A layer's cycles are those by which its instructions move the latest completion so far, in the
    order of the program, so that the layers add up to the whole. With -o, FOLDER gets timeline.png
    and trace.json, which opens in https://ui.perfetto.dev or chrome://tracing and has a group of
    tracks for each core.

    \b
    Examples:
      makalu profile examples/digits_int8.onnx --host all
      makalu profile examples/digits_int8.onnx --host all --device chip4_small -o profile
      makalu profile examples/digits_int8.onnx --host all --config core1024 -o profile
      makalu profile net.mkl --json
      makalu profile net4.mkl --device chip4 -o profile
    """
    from makalu.see import profile as profiles
    from makalu.see.files import write
    from makalu.cli.profile_table import show, show_chip

    of_chip(cores, device)
    program = load_runnable(net, how)
    with console.err.status(f"simulating {program.name} on {device}"):
        if device in CHIPS:
            from makalu.see import chip_run
            run = chip_run.measure(program, api.chip_of(device, program.config), cores, seed)
            runs, summary = run.runs, profiles.summary_of_chip(run)
        else:
            runs = [profiles.measure(program, seed)]
            summary = profiles.summary(runs[0])
    files = write(runs, summary, Path(output)) if output else []
    if as_json:
        console.emit_json({**summary, "files": [str(f) for f in files]})
        return
    if device in CHIPS:
        show_chip(runs, summary)
    else:
        show(runs[0])
    for file in files:
        console.out.print(f"written to {file}")


@click.command()
@click.argument("net")
@compile_options
@click.option("--inject", "faults", multiple=True, metavar="FAULT",
              help="Invert a bit of the hardware's memory: REGION:OFFSET.BIT@CYCLE, where .BIT and "
                   "@CYCLE may be left out; can be given several times.")
@click.option("--seed", default=0, show_default=True, help="Of the random inputs.")
@json_option
def bisect(net: str, how: How, faults: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Run NET (.mkl or .onnx) on the golden model and on the simulated hardware, and name the first
    instruction that writes something else on the hardware.

    The exit code is 1 if there is one. --inject shows that it works: the regions are program (the
    instructions, then the weights), workspace, input and output. A bit that changes after it was
    read, or on which no result depends, has no effect.

    \b
    Examples:
      makalu bisect examples/digits_int8.onnx --host all
      makalu bisect examples/digits_int8.onnx --host all --inject program:0x1400.7
      makalu bisect examples/digits_int8.onnx --host all --inject input:12.7 --json
    """
    from makalu.see import bisect as bisection

    program = load_runnable(net, how)
    try:
        flips = tuple(bisection.Flip.parse(fault) for fault in faults)
        with console.err.status(f"running {program.name} on both"):
            difference = bisection.bisect(program, flips, seed)
    except bisection.FaultError as e:
        raise click.ClickException(str(e)) from None
    compared = program.instruction_count
    if as_json:
        console.emit_json({"name": program.name, "config": program.config.name,
                           "instructions": compared,
                           "difference": difference and difference.json()})
    elif difference is None:
        console.out.print(f"all {compared:,} instructions of {program.name} write the same on "
                          f"{program.config.name}'s golden model and hardware")
        if flips:
            console.out.print("the injected fault has no effect: nothing reads that bit after it "
                              "changes, or no result depends on it")
    else:
        d = difference
        what = "writes something else" if d.complete else "does not complete"
        where = f" (node {d.node})" if d.node else ""
        console.out.print(f"instruction {d.index}{where} is the first that {what} on the hardware:",
                          markup=False)
        console.out.print(f"  {d.text}", markup=False)
        console.out.print(f"{d.later:,} of the {compared - d.index - 1:,} behind it differ as well")
        if d.fault:
            console.out.print(d.fault, markup=False)
    if difference:
        click.get_current_context().exit(1)
