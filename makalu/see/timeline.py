# SPDX-License-Identifier: Apache-2.0
"""A run as a picture: a lane for each engine, instructions in the color of their layer.

The lane on top shows whose instruction moves the latest completion: read from left to right, it is
the run's progress, layer by layer. An engine that waits is light gray; what still drains while the
next instruction is under way is a thin line under the lane.
"""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np

from isa.instructions import QUEUES
from makalu.see.profile import NO_NODE, Run, frontier, labels, spans

LANE, TAIL = 0.72, 0.1
"""Heights of a lane's bars and of the line under them; lanes are 1 apart."""

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


def draw(run: Run, path: Path) -> None:
    """Write the picture; the suffix says the format (``.png``, ``.svg``)."""
    import matplotlib
    from matplotlib.figure import Figure

    trace, span = run.trace, spans(run.trace)
    called = labels([*run.program.nodes, NO_NODE])
    layer = [called[run.layer(k)] for k in range(len(trace))]
    color = colors([name for name in called.values() if name in set(layer)])
    queues = [k for k in range(len(QUEUES)) if (trace["queue"] == k).any()]
    lanes = ["progress", *(QUEUES[k] for k in queues)]
    rows = -(-min(len(color), LEGEND) // 6)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(18, 1.6 + 0.85 * len(lanes) + 0.2 * rows), layout="constrained")
        axes = figure.add_subplot()
        total = int(trace["done"].max())
        _layers(axes, trace, layer, color, total)
        for lane, queue in enumerate(queues, start=1):
            mine = np.flatnonzero(trace["queue"] == queue)
            _bars(axes, lane, LANE, span[mine, 0], span[mine, 1], [WAIT] * len(mine))
            shades = [color[layer[k]] for k in mine]
            _bars(axes, lane, LANE, span[mine, 1], span[mine, 2], shades)
            _bars(axes, lane + LANE / 2 + TAIL / 2, TAIL, span[mine, 2], trace["done"][mine],
                  shades)
        axes.set_yticks(range(len(lanes)), lanes)
        axes.set_ylim(len(lanes) - 0.4, -0.55)
        axes.set_xlim(0, total)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("cycles")
        axes.set_title(f"{run.program.name} on {run.program.config.name}: "
                       f"{run.counters['CYCLES']:,} cycles, "
                       f"{run.program.instruction_count:,} instructions\n"
                       "A bar is an instruction in the color of its layer, in the lane of its "
                       "engine; progress: the layer whose instruction moves the latest completion",
                       loc="left", fontsize=10)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#f0f0f0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        _legend(figure, color)
        figure.savefig(path, dpi=130)


def _bars(axes: Any, lane: float, height: float, start: np.ndarray, end: np.ndarray,
          shades: list[Any]) -> None:
    some = np.flatnonzero(end > start)
    axes.broken_barh([(start[k], end[k] - start[k]) for k in some], (lane - height / 2, height),
                     facecolors=[shades[k] for k in some], edgecolors="white", linewidth=0.15)


def _layers(axes: Any, trace: np.ndarray, layer: list[str], color: dict[str, Any], total: int
            ) -> None:
    """The lane of the frontier: neighbors of one layer joined, the wide ones with their names."""
    joined: list[tuple[str, int, int]] = []
    at = 0
    for name, step in zip(layer, frontier(trace).tolist(), strict=True):
        if not step:
            continue
        if joined and joined[-1][0] == name:
            joined[-1] = (name, joined[-1][1], at + step)
        else:
            joined.append((name, at, at + step))
        at += step
    start, end = (np.array([j[k] for j in joined]) for k in (1, 2))
    _bars(axes, 0, LANE, start, end, [color[j[0]] for j in joined])
    for name, first, last in joined:
        room = int((last - first) / total / LABEL)
        if room >= 4:
            axes.text((first + last) / 2, 0, _short(name, room), ha="center", va="center",
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
