# SPDX-License-Identifier: Apache-2.0
"""A profile as tables on the terminal."""

from collections.abc import Sequence
from typing import Any

from isa.instructions import GANG_QUEUES
from makalu.cli.console import number, out, percent, table
from makalu.see.profile import NO_NODE, Run, engines, labels, layers, percentages, summary

ABREAST = 8
"""Cores of a chip that have columns in one table."""

TITLES = {
    "active": "work", "wait_weights": "weights not there", "wait_data": "operands not there",
    "wait_out": "results not taken", "wait_dram": "DRAM",
    "wait_gang": "other cores of the gang",
    **{f"wait_{q}": f"completion of a {q.upper()}"
       for q in ("load", "tensor", "window", "vector", "store")},
    "wait_send": "completion of an XFER or SIGNAL", "wait_await": "completion of an AWAIT",
    "overhead": "set-up and draining", "idle": "no instruction"}
"""What each bucket is called, in the order of the tables; :data:`isa.registers.BUCKETS` defines
them."""

MEANING = ("cycles: by how much a layer's instructions move the latest completion; they add up to "
           "the whole.")


def no_counters(run: Run) -> str:
    """Said of a machine that has none."""
    return (f"{run.program.config.name} has no counters of where its engines' cycles go (profile: "
            "false)")


def show(run: Run) -> None:
    """Print the tables of :func:`makalu.see.profile.layers` and
    :func:`makalu.see.profile.engines`."""
    s = summary(run)
    found = layers(run)
    called = labels([r["layer"] for r in found])
    rows = [[called[r["layer"]], number(r["instructions"]), number(r["macs"]), number(r["cycles"]),
             number(r["predicted_cycles"]), number(r["under_way_cycles"]),
             number(r["roofline_cycles"]), percent(r["roofline_share"]), number(r["dram_bytes"]),
             ", ".join(f"{c['engine']} {TITLES[c['bucket']]} {c['cycles']:,}"
                       for c in r["stalls"])]
            for r in found]
    out.print(table(f"{s['name']} on {s['config']}: {s['cycles']:,} cycles, "
                    f"{percent(s['roofline_share'])} of the roofline",
                    [("layer", "left"), ("instr.", "right"), ("MACs", "right"),
                     ("cycles", "right"), ("predicted", "right"), ("under way", "right"),
                     ("roofline", "right"), ("share", "right"), ("DRAM bytes", "right"),
                     ("most cycles without work", "left")], rows), soft_wrap=False)
    out.print(f"{MEANING}\nunder way: cycles in which any of its instructions is; layers overlap.  "
              "share: the roofline's of those.")
    accounts = engines(run)
    if not accounts:
        out.print(no_counters(run))
        return
    shares = {queue: percentages(buckets) for queue, buckets in accounts.items()}
    lines = [[TITLES[name], *(f"{p[name]:.1f} %" if name in p else "" for p in shares.values())]
             for name in TITLES if any(name in p for p in shares.values())]
    lines.append(["cycles", *(f"{sum(b.values()):,}" for b in accounts.values())])
    out.print()
    out.print(table("Where the cycles of each engine went",
                    [("", "left"), *((queue, "right") for queue in accounts)], lines),
              soft_wrap=False)


def show_chip(runs: Sequence[Run], summary: dict[str, Any]) -> None:
    """Print the tables of :func:`makalu.see.profile.summary_of_chip`, a column for each core."""
    together = summary["ranks"] > 1
    out.print(f"{summary['name']} on {len(runs)} cores of {summary['chip']}"
              f"{' together' if together else ''}: {summary['cycles']:,} cycles, the memory's "
              f"buses busy in {percent(summary['dram_share'])}")
    abreast = ABREAST // 2 if together else ABREAST
    for at in range(0, len(runs), abreast):
        some = summary["cores"][at:at + abreast]
        columns = [(f"core {c['core']}", "right") for c in some]
        out.print()
        if together:
            each = [head for column in columns for head in (("predicted", "right"), column)]
            rows = _shares(some, [*runs[0].program.nodes, NO_NODE])
        else:
            each, rows = [("predicted", "right"), *columns], _layers(some)
        out.print(table("Cycles of each layer", [("layer", "left"), *each], rows),
                  soft_wrap=False)
        out.print(MEANING)
        if not any(c["engines"] for c in some):
            out.print(no_counters(runs[0]))
            continue
        out.print()
        out.print(table("Where the cycles of each core's engines went",
                        [("", "left"), ("", "left"), *columns], _engines(some)), soft_wrap=False)


def _layers(cores: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows: of each layer what the compiler predicts for a core alone, and what each core took."""
    rows = [[layer["layer"], number(layer["predicted_cycles"]),
             *(number(c["layers"][k]["cycles"]) for c in cores)]
            for k, layer in enumerate(cores[0]["layers"])]
    called = labels([row[0] for row in rows])
    predicted = [layer["predicted_cycles"] or 0 for layer in cores[0]["layers"]]
    return [*([called[name], *cells] for name, *cells in rows),
            ["all", number(sum(predicted) or None), *(number(sum(
                layer["cycles"] for layer in c["layers"])) for c in cores)],
            ["began after", "", *(number(c["begin"]) for c in cores)]]


def _shares(cores: Sequence[dict[str, Any]], order: Sequence[str]) -> list[list[str]]:
    """Rows: of each layer, in that order, what the compiler predicts for each core's share of it,
    and what that took; nothing where a core has no share."""
    found = [{layer["layer"]: layer for layer in c["layers"]} for c in cores]
    rows = {name: [layers.get(name, {}).get(what) for layers in found
                   for what in ("predicted_cycles", "cycles")]
            for name in order if any(name in layers for layers in found)}
    called = labels(list(rows))
    sums = [sum(n or 0 for n in column) or None for column in zip(*rows.values(), strict=True)]
    return [*([called[name], *map(number, cells)] for name, cells in rows.items()),
            ["all", *map(number, sums)],
            ["began after", *(cell for c in cores for cell in ("", number(c["begin"])))]]


def _engines(cores: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows: of each engine and bucket the share of each core's cycles; those of an engine add up to
    100 %."""
    rows = []
    for queue in GANG_QUEUES:
        found = [c["engines"].get(queue) for c in cores]
        names = [name for name in TITLES
                 if any(f and f["cycles"].get(name) for f in found)]
        rows += [["" if k else queue, TITLES[name], *(
            f"{f['percent'][name]:.1f} %" if f and name in f["percent"] else "" for f in found)]
                 for k, name in enumerate(names)]
    return [*rows, ["cycles", "", *(number(c["cycles"]) for c in cores)]]
