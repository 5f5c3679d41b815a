# SPDX-License-Identifier: Apache-2.0
"""What each block costs on FPGAs, and how fast it is: ``python -m synth.report --config tiny``.

Figures go into docs/synthesis.json, each block's as soon as it is measured, and the page
docs/synthesis.md is made of that file; what is not measured anew stays. With ``--check`` nothing is
written, and figures that are worse than the file's are an error.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from isa.config import Config, ConfigError
from isa.presets import load_config
from synth.area import DOCS
from synth.baseline import losses
from synth.blocks import PARTS, present
from synth.measure import MAPPED, ROUTED, WHOLE, figures, tools
from synth.place import PlaceError
from synth.synthesis_page import page

NAME = "synthesis"

TARGETS = (*MAPPED, *ROUTED)

CHECKED = ("tile", "accumulator", "feeder")
"""Blocks that a check measures unless others are named: they take two minutes."""


def measure(config: Config, part: str, targets: tuple[str, ...], before: dict[str, Any]
            ) -> tuple[dict[str, Any], list[str]]:
    """Figures of a part on each target that it is measured on, and what is refused. ``before`` are
    the documented figures."""
    row: dict[str, Any] = {}
    said = []
    for target in targets:
        start = time.monotonic()
        found, refused = figures(config, part, target, {**before, **row})
        said += refused
        if found is not None:
            row[target] = found
            text = ", ".join(f"{v:,} {k}" if not isinstance(v, str) else v
                             for k, v in found.items())
            print(f"{config.name}: {part}, {target}: {text} "
                  f"({time.monotonic() - start:.0f} s)", file=sys.stderr)
    return row, said


def load(docs: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures by configuration, block and target; none if there is no file.

    Raises
    ------
    ValueError
        If the file is not JSON.
    """
    path = docs / f"{NAME}.json"
    try:
        known: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as e:
        raise ValueError(f"{path} is not JSON ({e}): restore it, or remove it and run make "
                         "synthesis") from e
    return known


def store(docs: Path, known: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Write the file and the page."""
    (docs / f"{NAME}.json").write_text(json.dumps(known, indent=1) + "\n")
    (docs / f"{NAME}.md").write_text(page(known))


def compare(config: str, part: str, before: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """What a part has lost, or that nothing is known of it."""
    if not before:
        return [(f"docs/{NAME}.json has no figures of {part} of {config}: run python -m "
                 f"synth.report --config {config} --block {part}")]
    return losses(f"{part} of {config}", before, row)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "name", default="tiny", show_default=True,
              help="A preset or a .json file.")
@click.option("--block", "parts", multiple=True, type=click.Choice(list(PARTS)),
              help="Only this one, can be given several times.  [default: all of them; "
                   f"{', '.join(CHECKED)} with --check]")
@click.option("--target", "targets", multiple=True, type=click.Choice((*TARGETS, WHOLE)),
              help="Only this one, can be given several times.  "
                   f"[default: all of them but {WHOLE}]")
@click.option("--check", is_flag=True, help="Compare with the documented figures, write nothing.")
@click.option("--docs", default=DOCS, metavar="FOLDER", type=click.Path(path_type=Path),
              help="Where synthesis.json and synthesis.md are.  [default: docs]")
def main(name: str, parts: tuple[str, ...], targets: tuple[str, ...], check: bool, docs: Path
         ) -> None:
    """Measure blocks on FPGA families and write docs/synthesis.md, or compare with it. The exit
    code is 1 if a product or a memory has not become what it should have, or if a check finds a
    loss.

    \b
    Examples:
      python -m synth.report --config ecp5 --block tile --block accumulator
      python -m synth.report --config ecp5 --block makalu --target "ecp5 machine routed"
      python -m synth.report --check
    """
    said = []
    try:
        config, known = load_config(name), load(docs)
        tools(targets or TARGETS)
        for part in parts or present(config, CHECKED if check else PARTS):
            before = known.get(config.name, {}).get(part, {})
            row, refused = measure(config, part, targets or TARGETS, before)
            said += refused
            if check:
                said += compare(config.name, part, before, row)
            else:
                known.setdefault(config.name, {})[part] = {**before, **row}
                store(docs, known)
    except (ConfigError, PlaceError, ValueError, OSError) as e:
        sys.exit(f"makalu: {e}")
    for sentence in said:
        print(f"makalu: {sentence}", file=sys.stderr)
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()
