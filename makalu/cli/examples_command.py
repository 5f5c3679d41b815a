# SPDX-License-Identifier: Apache-2.0
"""``makalu examples``."""

import shutil
from pathlib import Path

import click

from makalu.cli import console
from makalu.shipped import EXAMPLES


@click.command()
@click.argument("folder", default="examples", type=click.Path(file_okay=False, path_type=Path))
def examples(folder: Path) -> None:
    """Copy the shipped networks, data and scripts to FOLDER (examples).

    A file that is there already stays as it is.

    \b
    Examples:
      makalu examples
      makalu run examples/digits_int8.onnx --input examples/digits_test.npz --host all
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(f for f in EXAMPLES.iterdir() if f.is_file()):
        target = folder / source.name
        if target.exists():
            console.out.print(f"{target}: is there already")
        else:
            shutil.copyfile(source, target)
            console.out.print(f"{target}")
