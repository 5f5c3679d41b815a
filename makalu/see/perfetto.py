# SPDX-License-Identifier: Apache-2.0
"""A run as a trace for Perfetto and Chrome: one thread an engine, a microsecond a cycle.

The format is Chrome's Trace Event Format. Events of a thread may nest but not overlap, hence an
instruction that still drains while its engine works on the next one ends where that begins; its
argument ``done`` tells the whole.
"""

from typing import Any

from isa.instructions import QUEUES
from isa.registers import BUCKET_NAMES
from makalu.see.profile import Run, spans

PROCESS = 1


def events(run: Run) -> dict[str, Any]:
    """The trace as a JSON object."""
    program = run.program
    found = [_meta("process_name", 0, name=f"{program.name} on {program.config.name}")]
    for tid, queue in enumerate(QUEUES):
        found += [_meta("thread_name", tid, name=queue),
                  _meta("thread_sort_index", tid, sort_index=tid)]
    for index, (record, instruction, (waits, start, end)) in enumerate(
            zip(run.trace, program.instructions(), spans(run.trace).tolist(), strict=False)):
        tid = int(record["queue"])
        named = {q: instruction.fields.get(f"wait_{q}", 0) for k, q in enumerate(QUEUES)
                 if instruction.wait_mask >> k & 1}
        common = {"index": index, "node": program.node_name(index), "waits": named}
        if start > waits:
            found.append(_complete("waits", "wait", tid, waits, start, common))
        found.append(_complete(
            run.layer(index), instruction.opcode.name, tid, start, end, {
                **common, "disassembly": str(instruction), "dispatch": int(record["dispatch"]),
                "done": int(record["done"]), "signature": f"{record['signature']:08x}",
                "cycles": {name: int(n) for name, n in zip(BUCKET_NAMES, record["cycles"],
                                                           strict=True) if n}}))
    return {"displayTimeUnit": "ns", "traceEvents": found}


def _meta(kind: str, tid: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": PROCESS, "tid": tid, "args": args}


def _complete(name: str, kind: str, tid: int, start: int, end: int, args: dict[str, Any]
              ) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": kind, "pid": PROCESS, "tid": tid, "ts": start,
            "dur": end - start, "args": args}
