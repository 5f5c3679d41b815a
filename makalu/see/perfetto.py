# SPDX-License-Identifier: Apache-2.0
"""A run as a trace for Perfetto and Chrome: one thread an engine, a nanosecond a cycle; of a chip a
process for each core, which the viewers show as a group of tracks.

The machine's clock is not known to a simulation, and so the viewers' 1 ns is 1 cycle, as the name
of the process says. Counters are drawn above the threads, each instruction with its mean: how
busy the array's multipliers are, the bytes that LOADs and STOREs move, and those that XFERs send.

The format is Chrome's Trace Event Format. Events of a thread may nest but not overlap, hence an
instruction that still drains while its engine works on the next one ends where that begins; its
argument ``done`` tells the whole.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from isa.instructions import QUEUES, Instruction, Opcode
from isa.registers import BUCKET_NAMES
from makalu.see.profile import Run, spans

CYCLE = 1e-3
"""A cycle in the format's microseconds."""

ACTIVE = BUCKET_NAMES.index("active")


def events(runs: Sequence[Run]) -> dict[str, Any]:
    """The trace as a JSON object."""
    return {"displayTimeUnit": "ns", "traceEvents": [
        event for run in runs for event in _Process(run).events()]}


class _Process:
    """The events of a run; its process has the number of the core, from 1 on."""

    def __init__(self, run: Run):
        self._run, self._pid = run, 1 + (run.core or 0)
        self._ran = run.instructions[:len(run.trace)]

    def events(self) -> list[dict[str, Any]]:
        """All of them."""
        run, program = self._run, self._run.program
        named = f"{program.name} on {run.where}, 1 ns = 1 cycle"
        return [self._meta("process_name", 0, name=named),
                self._meta("process_sort_index", 0, sort_index=self._pid),
                *(self._meta("thread_name", tid, name=queue)
                  for tid, queue in enumerate(run.queues)),
                *(self._meta("thread_sort_index", tid, sort_index=tid)
                  for tid in range(len(run.queues))),
                *self._counters(), *self._instructions()]

    def _instructions(self) -> Iterator[dict[str, Any]]:
        run = self._run
        for index, (record, instruction, (waits, start, end)) in enumerate(
                zip(run.trace, self._ran, spans(run.trace).tolist(), strict=True)):
            tid = int(record["queue"])
            named = {q: instruction.fields.get(f"wait_{q}", 0) for k, q in enumerate(run.queues)
                     if instruction.wait_mask >> k & 1}
            common = {"index": index, "node": run.node_name(index), "waits": named}
            if start > waits:
                yield self._complete("waits", "wait", tid, waits, start, common)
            yield self._complete(run.layer(index), instruction.opcode.name, tid, start, end, {
                **common, "disassembly": str(instruction), "dispatch": int(record["dispatch"]),
                "done": int(record["done"]), "signature": f"{record['signature']:08x}",
                "cycles": {name: int(n) for name, n in zip(BUCKET_NAMES, record["cycles"],
                                                           strict=True) if n}})

    def _meta(self, kind: str, tid: int, **args: Any) -> dict[str, Any]:
        return {"ph": "M", "name": kind, "pid": self._pid, "tid": tid, "args": args}

    def _complete(self, name: str, kind: str, tid: int, start: int, end: int, args: dict[str, Any]
                  ) -> dict[str, Any]:
        return {"ph": "X", "name": name, "cat": kind, "pid": self._pid, "tid": tid,
                "ts": self._at(start), "dur": (end - start) * CYCLE, "args": args}

    def _at(self, cycle: int) -> float:
        """The viewers' time of a cycle."""
        return (self._run.begin + cycle) * CYCLE

    def _counters(self) -> list[dict[str, Any]]:
        """The counters' events; the first one only of a machine that counts active cycles, the last
        one only of a program for several cores."""
        trace, span = self._run.trace, spans(self._run.trace)
        tensor = trace["queue"] == QUEUES.index("tensor")
        active = trace["cycles"][:, ACTIVE] * tensor
        return [*self._steps("array at work, %", 100 * active, span[:, 1], span[:, 2]),
                *self._steps("DRAM, bytes a cycle", self._bytes(Opcode.LOAD, Opcode.STORE),
                             span[:, 1], trace["done"]),
                *self._steps("sent to other cores, bytes a cycle", self._bytes(Opcode.XFER),
                             span[:, 1], trace["done"])]

    def _bytes(self, *opcodes: Opcode) -> np.ndarray:
        """What the instructions with these opcodes move; 0 of the others."""
        def words(i: Instruction) -> int:
            return i.n0 * i.n1 * i.n2 * i.n3 if i.opcode in opcodes else 0

        return np.array([words(i) for i in self._ran]) * self._run.program.config.word_bytes

    def _steps(self, name: str, amounts: np.ndarray, starts: np.ndarray, ends: np.ndarray
               ) -> list[dict[str, Any]]:
        """Amounts, each spread evenly over its time, as a counter that changes in steps."""
        some = np.flatnonzero((amounts > 0) & (ends > starts))
        rate = amounts[some] / (ends - starts)[some]
        times, position = np.unique(np.concatenate([starts[some], ends[some]]),
                                    return_inverse=True)
        change = np.bincount(position, np.concatenate([rate, -rate]), len(times))
        return [{"ph": "C", "name": name, "pid": self._pid, "ts": self._at(int(at)),
                 "args": {"value": round(max(0.0, float(value)), 3)}}
                for at, value in zip(times, np.cumsum(change), strict=True)]
