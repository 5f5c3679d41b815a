# SPDX-License-Identifier: Apache-2.0
"""Proves all properties and writes docs/verification.md: ``python -m prove``."""

import sys
from pathlib import Path

import click

from prove.checker import Result
from prove.properties import PROPERTIES, Property

PAGE = Path(__file__).resolve().parent.parent / "docs" / "verification.md"
MARKS = "<!-- The table is made by `make prove`. -->\n", "<!-- End of the table. -->\n"


def table(results: list[tuple[Property, Result]]) -> str:
    """The results in Markdown."""
    return "| block | property | result | seconds |\n|---|---|---|--:|\n" + "".join(
        f"| [{p.block}](../{p.block}) | `{p.name}`: {p.says} | {r} | {r.seconds:.0f} |\n"
        for p, r in results)


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Prove the properties NAMES, or all of them and write docs/verification.md."""
    known = {p.name: p for p in PROPERTIES}
    if unknown := set(names) - known.keys():
        sys.exit(f"no property {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = []
    for p in [known[n] for n in names] or PROPERTIES:
        result = p.check()
        results.append((p, result))
        print(f"{p.name}: {result}, {result.seconds:.0f} s", flush=True)
        for cycle, inputs in enumerate(result.trace or ()):
            print(f"  {cycle}: " + ", ".join(f"{k} = {v:#x}" for k, v in inputs.items()))
    if not names:
        text = PAGE.read_text()
        before, rest = text.split(MARKS[0])
        PAGE.write_text(before + MARKS[0] + table(results) + MARKS[1] + rest.split(MARKS[1])[1])
    sys.exit(any(not r.holds for _, r in results))


if __name__ == "__main__":
    main()
