# SPDX-License-Identifier: Apache-2.0
"""The commands that measure and check many networks."""

from pathlib import Path
from typing import Any

import click

from isa.config import DTYPES
from makalu.cli import console
from makalu.cli.options import config_option, given_by_default, json_option
from makalu.text import plain


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE.onnx]…")
@click.option("--models", metavar="FOLDER", help="A folder with more networks (.onnx), also below "
              "it.  [default: MAKALU_MODELS]")
@click.option("--config", "configs", multiple=True, metavar="NAME",
              help="A machine; can be given several times.  [default: core256 and core1024, for "
                   "fp16 core256_fp and core1024_fp]")
@click.option("--precision", type=click.Choice(["int8", "fp16"]), default="int8",
              show_default=True, help="Measure quantized networks, or FP32 networks in FP16.")
@click.option("--quick", is_flag=True, help="Only networks that are simulated in seconds.")
@click.option("--docs", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Where benchmarks.md and benchmarks.json go.  [default: docs; build/bench for "
                   "files and --quick]")
@json_option
def bench(files: tuple[Path, ...], models: str | None, configs: tuple[str, ...], precision: str,
          quick: bool, docs: Path | None, as_json: bool) -> None:
    """Measure networks on the simulated hardware: FILES, or the table of the documentation.

    That table has the shipped network, those of the models' folder, and light models of the onnx
    package, VGG-19 among them: half an hour. It is written anew after each row.

    \b
    Examples:
      makalu bench
      makalu bench --quick --config core256
      makalu bench net.onnx other.onnx
      makalu bench --precision fp16 --quick
    """
    from makalu.measure import bench as benches
    from makalu.measure import bench_page as page
    from makalu.measure import networks
    from makalu.models import onnx_file
    from sim.build import say

    for file in files:
        if not file.exists():
            raise click.ClickException(f"there is no file {str(file)!r}; name models")
    files = tuple(onnx_file(file, say=say) for file in files)
    folder = docs or Path("build/bench" if files or quick else "docs")
    if files and precision == "int8":
        given, left = networks.quantized(files)
        chosen = networks.of_files(given)
    elif files:
        chosen, left = networks.of_files(files), {}
    else:
        chosen, left = networks.networks(models, precision)
    for label, reason in left.items():
        say(f"{label} is left out: {reason}")
    if not as_json:
        console.out.print(" | ".join(page.COLUMNS), markup=False)

    def found(result: benches.Result, row: dict[str, Any]) -> None:
        page.write(result, left, folder, precision)
        if not as_json:
            console.out.print(" | ".join(page.cells(row)), markup=False)

    result = benches.Bench([n for n in chosen if not (quick and n.large)],
                           configs or benches.CONFIGS[precision], say, found, precision).run()
    paths = page.write(result, left, folder, precision)
    if as_json:
        console.emit_json({"networks": result.sorted_rows(), "machines": result.machines,
                           "skipped": result.skipped, "left_out": left})
        return
    console.out.print(f"written to {' and '.join(map(str, paths))}")


@click.command()
@click.argument("folder", required=False)
@click.option("--rtl", default=2, show_default=True, type=click.IntRange(0), metavar="N",
              help="Inputs of each network that the simulated hardware gets; 0: none.")
@click.option("--samples", default=8, show_default=True, type=click.IntRange(1), metavar="N",
              help="Random inputs of a network that has none beside it.")
@config_option
@click.option("--precision", type=click.Choice(DTYPES), default="int8", show_default=True,
              help="Check quantized networks, or FP32 networks in a 16-bit type, on core256_fp "
                   "unless told otherwise.")
@json_option
@click.pass_context
def zoo(ctx: click.Context, folder: str | None, rtl: int, samples: int, config: str,
        precision: str, as_json: bool) -> None:
    """Check every network in FOLDER (or MAKALU_MODELS): golden model against ONNX Runtime, as a
    whole and node by node, and simulated hardware against the golden model.

    Inputs lie beside a network: .npz files with an array that fits, pictures in photos/.
    The exit code is 1 if a requirement does not hold, or if no network could be checked.

    \b
    Examples:
      makalu zoo ~/networks
      makalu zoo ~/networks --precision fp16
      makalu zoo ~/networks --config core1024 --rtl 4 --json
    """
    from makalu.measure import zoo as networks
    from makalu.measure.networks import networks_in
    from makalu.cli.zoo_table import emit, show
    from sim.build import say

    if precision != "int8" and given_by_default(ctx, "config"):
        config = f"{config}_fp"
    rows = networks.zoo(networks_in(folder), config, ("all",), rtl, samples, say, precision)
    (emit if as_json else show)(rows, config)
    violations = [v for row in rows for v in row["violations"]]
    for violation in violations:
        click.echo(f"makalu: {plain(violation)}", err=True)
    nothing = all(row["skipped"] for row in rows)
    if nothing:
        click.echo("makalu: no network was checked", err=True)
    if violations or nothing:
        ctx.exit(1)
