# SPDX-License-Identifier: Apache-2.0
"""A profile as tables on the terminal."""

from isa.registers import BUCKET_NAMES
from makalu.cli.console import number, out, percent, table
from makalu.see.profile import Run, engines, labels, layers, percentages, summary

TITLES = {
    "active": "work", "wait_weights": "weights not there", "wait_data": "operands not there",
    "wait_out": "results not taken", "wait_dram": "DRAM",
    "wait_gang": "other cores of the gang",
    **{f"wait_{q}": f"completion of a {q.upper()}"
       for q in ("load", "tensor", "window", "vector", "store")},
    "overhead": "set-up and draining", "idle": "no instruction"}
"""What each bucket is called; :data:`isa.registers.BUCKETS` defines them."""


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
    out.print("cycles: by how much a layer's instructions move the latest completion; they add up "
              "to the whole.\nunder way: cycles in which any of its instructions is; layers "
              "overlap.  share: the roofline's of those.")
    accounts = engines(run)
    if not accounts:
        out.print(f"{s['config']} has no counters of where its engines' cycles go (profile: false)")
        return
    shares = {queue: percentages(buckets) for queue, buckets in accounts.items()}
    lines = [[TITLES[name], *(f"{p[name]:.1f} %" if name in p else "" for p in shares.values())]
             for name in BUCKET_NAMES]
    lines.append(["cycles", *(f"{sum(b.values()):,}" for b in accounts.values())])
    out.print()
    out.print(table("Where the cycles of each engine went",
                    [("", "left"), *((queue, "right") for queue in accounts)], lines),
              soft_wrap=False)
