# SPDX-License-Identifier: Apache-2.0
"""The figures of one block: areas on three families, and clocks where it is placed and routed.

A target that fails is a sentence under ``error``, so that one family's trouble does not cost the
others' figures.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hw.top import TOP, verilog_of
from isa.config import Config
from synth import gowin, place
from synth.area import columns, counts, mapped
from synth.baseline import MHZ
from synth.blocks import component
from synth.mapping import multipliers, refusals
from synth.yosys import SynthesisError

MAPPED = ("ecp5", "xc7", "xcup")

ROUTED: dict[str, Callable[[], object]] = {
    "ecp5 routed": place.nextpnr, "gowin routed": gowin.nextpnr}
"""Targets that place and route blocks, and what finds the tool of each."""

WHOLE = "ecp5 machine routed"
"""The target that places and routes a whole machine: half an hour, so only if it is named."""

FAST = place.Target(speed=8, frequency=95.0)
"""Of :data:`WHOLE`."""

ROUTABLE = 6000
"""LUT4 on ECP5 of the largest block that is placed and routed: with more it takes many minutes."""

IN_GOWIN = ("tile", "accumulator")
"""Blocks that are placed and routed on Gowin's device."""

FOLDERS = re.compile(r"(?<!\S)/(?:[^/\s]+/)+")
"""The folders of an absolute path."""

Figures = dict[str, Any]


def tools(targets: Iterable[str]) -> None:
    """Raises PlaceError if the tool of a target is missing."""
    for target in targets:
        if target in ROUTED:
            ROUTED[target]()
        elif target == WHOLE:
            place.nextpnr()


def figures(config: Config, part: str, target: str, known: Mapping[str, Figures]
            ) -> tuple[Figures | None, list[str]]:
    """A part's figures on a target, and what :func:`synth.mapping.refusals` says; None if it is not
    measured there. ``known`` are the figures of other targets."""
    try:
        if target in MAPPED:
            return _areas(config, part, target)
        if target == WHOLE:
            return (_machine(config), []) if part == TOP else (None, [])
        luts = known.get("ecp5", {}).get("LUT4")
        if luts is None or luts > ROUTABLE or (target == "gowin routed" and part not in IN_GOWIN):
            return None, []
        if target == "gowin routed":
            found = gowin.place(config, part)
        else:
            found = place.place(config, part, place.Target())
        used = {name: cell["used"] for name, cell in found["cells"].items()}
        # a block without a path between flip-flops has no frequency
        return used | ({MHZ: found["frequency"]} if found["frequency"] else {}), []
    except (SynthesisError, place.PlaceError) as e:
        return {"error": _sentence(str(e))}, []


def _machine(config: Config) -> Figures:
    found = place.place(config, None, FAST)
    path = found["path"]
    return {**{name: cell["used"] for name, cell in found["cells"].items()},
            MHZ: found["frequency"],
            "longest path": f"{path['ns']} ns, {path['from']} to {path['to']}",
            "time": f"{sum(found['seconds'].values()) / 60:.0f} min"}


def _areas(config: Config, part: str, target: str) -> tuple[Figures, list[str]]:
    cells = mapped(verilog_of(component(config, part), part), part, target)
    found = {**columns(counts(cells), target)}
    dsp = multipliers(cells)
    if dsp["blocks"]:
        found |= {"DSP with its own registers": dsp["inside"],
                  "DSP between registers": dsp["registered"]}
    return found, refusals(config, part, target, cells)


def _sentence(text: str) -> str:
    """The lines of a tool's message that say something, in one, without where files lie."""
    lines = text.splitlines()
    errors = [line for line in lines if "ERROR" in line]
    return FOLDERS.sub("", " ".join([lines[0], *errors[:1]]))
