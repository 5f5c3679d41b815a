# SPDX-License-Identifier: Apache-2.0
"""A run as a picture: a lane for each engine, instructions in the color of their layer.

The lane on top shows whose instruction moves the latest completion: read from left to right, it is
the run's progress, layer by layer. An engine that waits is light gray; what still drains while the
next instruction is under way is a thin line under the lane. Of a chip the lanes of one core follow
those of another, on one axis of cycles; of many cores there is the progress alone.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isa.instructions import GANG_QUEUES
from makalu.see.profile import NO_NODE, Run, frontier, labels, spans

LANE, TAIL = 0.72, 0.1
"""Heights of a lane's bars and of the line under them; lanes are 1 apart."""

ENGINES_OF = 4
"""Cores of a chip whose engines there is room for."""

WAIT = "#e3e3e3"
LEGEND = 72
"""Layers that the legend has room for."""

WIDEST = 34
"""Characters of a name in the legend."""

LABEL = 0.005
"""Share of the width that a character of a layer's name takes."""

GOLDEN_ANGLE = 0.381966


def colors(names: list[str]) -> dict[str, tuple[float, float, float]]:
    """A color for each layer, far from those of its neighbors."""
    return {name: colorsys.hls_to_rgb(k * GOLDEN_ANGLE % 1, (0.45, 0.6, 0.36)[k % 3], 0.62)
            for k, name in enumerate(names)}


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write the picture of a run, or of those of a chip's cores, which are of one program; the
    suffix says the format (``.png``, ``.svg``)."""
    import matplotlib
    from matplotlib.figure import Figure

    program = runs[0].program
    called = labels([*program.nodes, NO_NODE])
    used = {called[run.layer(k)] for run in runs for k in range(len(run.trace))}
    color = colors([name for name in called.values() if name in used])
    total = max(run.begin + int(run.trace["done"].max()) for run in runs)
    lanes = [_lanes(run, len(runs) <= ENGINES_OF) for run in runs]
    count = sum(map(len, lanes))
    rows = -(-min(len(color), LEGEND) // 6)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(18, 1.6 + 0.85 * count + 0.2 * rows), layout="constrained")
        axes = figure.add_subplot()
        first = 0
        for run, named in zip(runs, lanes, strict=True):
            _draw_run(axes, run, first, len(named) > 1, [called[run.layer(k)] for k in range(
                len(run.trace))], color, total)
            first += len(named)
        axes.set_yticks(range(count), [name for named in lanes for name in named])
        axes.set_ylim(count - 0.4, -0.55)
        axes.set_xlim(0, total)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("cycles")
        axes.set_title(f"{_title(runs)}\n"
                       "A bar is an instruction in the color of its layer, in the lane of its "
                       "engine; progress: the layer whose instruction moves the latest completion",
                       loc="left", fontsize=10)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#f0f0f0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        _legend(figure, color)
        figure.savefig(path, dpi=130)


def _title(runs: Sequence[Run]) -> str:
    program = runs[0].program
    where = program.config.name if len(runs) == 1 else f"{len(runs)} cores {program.config.name}"
    cycles = max(run.begin + run.counters["CYCLES"] for run in runs)
    if program.ranks > 1:
        count, each = sum(len(run.instructions) for run in runs), " together"
    else:
        count, each = program.instruction_count, " on each" if len(runs) > 1 else ""
    return f"{program.name} on {where}: {cycles:,} cycles, {count:,} instructions{each}"


def _lanes(run: Run, engines: bool) -> list[str]:
    """Names of a run's lanes."""
    used = [queue for k, queue in enumerate(GANG_QUEUES)
            if engines and (run.trace["queue"] == k).any()]
    return [name if run.core is None else f"core {run.core}: {name}"
            for name in ("progress", *used)]


def _draw_run(axes: Any, run: Run, first: int, engines: bool, layer: list[str],
              color: dict[str, Any], total: int) -> None:
    """The lanes of a run from the lane ``first`` on."""
    trace, span = run.trace, spans(run.trace) + run.begin
    _layers(axes, run, first, layer, color, total)
    queues = [k for k in range(len(GANG_QUEUES)) if engines and (trace["queue"] == k).any()]
    for lane, queue in enumerate(queues, start=first + 1):
        mine = np.flatnonzero(trace["queue"] == queue)
        _bars(axes, lane, LANE, span[mine, 0], span[mine, 1], [WAIT] * len(mine))
        shades = [color[layer[k]] for k in mine]
        _bars(axes, lane, LANE, span[mine, 1], span[mine, 2], shades)
        _bars(axes, lane + LANE / 2 + TAIL / 2, TAIL, span[mine, 2],
              trace["done"][mine] + run.begin, shades)


def _bars(axes: Any, lane: float, height: float, start: np.ndarray, end: np.ndarray,
          shades: list[Any]) -> None:
    some = np.flatnonzero(end > start)
    axes.broken_barh([(start[k], end[k] - start[k]) for k in some], (lane - height / 2, height),
                     facecolors=[shades[k] for k in some], edgecolors="white", linewidth=0.15)


def _layers(axes: Any, run: Run, lane: int, layer: list[str], color: dict[str, Any], total: int
            ) -> None:
    """The lane of the frontier: neighbors of one layer joined, the wide ones with their names."""
    joined: list[tuple[str, int, int]] = []
    at = run.begin
    for name, step in zip(layer, frontier(run.trace).tolist(), strict=True):
        if not step:
            continue
        if joined and joined[-1][0] == name:
            joined[-1] = (name, joined[-1][1], at + step)
        else:
            joined.append((name, at, at + step))
        at += step
    start, end = (np.array([j[k] for j in joined]) for k in (1, 2))
    _bars(axes, lane, LANE, start, end, [color[j[0]] for j in joined])
    for name, first, last in joined:
        room = int((last - first) / total / LABEL)
        if room >= 4:
            axes.text((first + last) / 2, lane, _short(name, room), ha="center", va="center",
                      color="white", fontsize=7, clip_on=True)


def _short(name: str, room: int) -> str:
    return name if len(name) <= room else name[:room - 1] + "…"


def _legend(figure: Any, color: dict[str, Any]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = list(color)[:LEGEND]
    handles: list[Any] = [Patch(color=color[n], label=_short(n, WIDEST)) for n in names]
    handles.append(Patch(color=WAIT, label="instruction waits for another engine"))
    handles.append(Line2D([], [], color="#888888", linewidth=3,
                          label="line under a bar: it drains while the next one runs"))
    if len(color) > LEGEND:
        handles.append(Patch(color="none", label=f"and {len(color) - LEGEND} more"))
    figure.legend(handles=handles, loc="outside lower left", ncols=6, fontsize=7, frameon=False)
