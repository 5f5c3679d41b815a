# SPDX-License-Identifier: Apache-2.0
"""An AXI4 memory for Amaranth's simulator, with random stalls, that watches the protocol."""

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np

CHANNELS = ("aw", "w", "b", "ar", "r")


@dataclass
class AxiMemory:
    """A memory of ``len(data)`` bytes behind an AXI4 interface of the design.

    ``stall`` is the chance that a channel rests in a cycle, ``latency`` the cycles from an address
    to its first data beat or from the last data beat to its response. ``errors`` maps byte
    addresses to the response that a burst touching them gets. ``breach`` is what the memory does
    wrong, and with which burst of its direction: ``"rlast"`` or ``"rid"`` in its second beat,
    ``"bid"``, ``"exokay"``, or an answer ``"more"``.
    """

    data: np.ndarray
    bus_bytes: int
    max_burst: int
    stall: float = 0.0
    latency: int = 1
    seed: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    breach: tuple[str, int] = ("", -1)
    reads: list[tuple[int, int]] = field(default_factory=list)
    users: list[int] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)
    answered: list[tuple[int, int]] = field(default_factory=list)
    beats: dict[str, int] = field(default_factory=lambda: {"r": 0, "w": 0})
    touched: set[int] = field(default_factory=set)
    cycle: int = 0
    most: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})

    def _check_burst(self, addr: int, beats: int) -> None:
        assert addr % self.bus_bytes == 0, f"unaligned burst at {addr:#x}"
        assert beats <= self.max_burst, f"burst of {beats} beats"
        assert addr // 4096 == (addr + beats * self.bus_bytes - 1) // 4096, \
            f"burst of {beats} beats at {addr:#x} crosses 4 KiB"

    def _response(self, addr: int, size: int) -> int:
        hits = [r for a, r in self.errors.items() if addr <= a < addr + size]
        return hits[0] if hits else 0

    def _wrong(self, bursts: list) -> str:
        """What is wrong with the last of these bursts."""
        kind, burst = self.breach
        return kind if len(bursts) == burst + 1 else ""

    async def run(self, ctx, bus):
        """A background testbench."""
        rng = random.Random(self.seed)
        reads, writes, wdata, answers = deque(), deque(), deque(), deque()
        held = dict.fromkeys(CHANNELS)
        r_valid = b_valid = False
        channels = [getattr(bus, c) for c in CHANNELS]
        for c in (bus.aw, bus.w, bus.ar):
            ctx.set(c.ready, rng.random() >= self.stall)
        while True:
            sampled = await ctx.tick().sample(
                *(c.valid for c in channels), *(c.ready for c in channels),
                bus.aw.payload, bus.w.payload, bus.ar.payload)
            self.cycle += 1
            valid = dict(zip(CHANNELS, sampled[2:7], strict=True))
            ready = dict(zip(CHANNELS, sampled[7:12], strict=True))
            payload = dict(zip(("aw", "w", "ar"), sampled[12:], strict=True))
            fire = {c: valid[c] and ready[c] for c in CHANNELS}
            for c in ("aw", "w", "ar"):
                if held[c] is not None:
                    assert valid[c] and payload[c] == held[c], f"{c} withdrawn before it was taken"
                held[c] = payload[c] if valid[c] and not ready[c] else None
            if fire["ar"]:
                p = payload["ar"]
                self._check_burst(p.addr, p.len + 1)
                self.reads.append((p.addr, p.len + 1))
                self.users.append(p.user)
                resp = self._response(p.addr, (p.len + 1) * self.bus_bytes)
                wrong = self._wrong(self.reads)
                for i in range(p.len + 1 + (wrong == "more")):
                    second = i == min(1, p.len)
                    reads.append((p.addr + i * self.bus_bytes,
                                  p.id ^ (second and wrong == "rid"),
                                  1 if second and wrong == "exokay" else resp,
                                  (i >= p.len) ^ (second and wrong == "rlast"),
                                  self.cycle + self.latency))
            if fire["aw"]:
                p = payload["aw"]
                self._check_burst(p.addr, p.len + 1)
                self.writes.append((p.addr, p.len + 1))
                writes.append((p.addr, p.len + 1))
            if fire["w"]:
                self.beats["w"] += 1
                wdata.append(payload["w"])
            if fire["r"]:
                self.beats["r"] += 1
                reads.popleft()
                r_valid = False
            if fire["b"]:
                answers.popleft()
                b_valid = False
            self._write(writes, wdata, answers)
            self.most["read"] = max(self.most["read"], sum(r[3] for r in reads))
            self.most["write"] = max(self.most["write"], len(writes) + len(answers))

            for c in (bus.aw, bus.w, bus.ar):
                ctx.set(c.ready, rng.random() >= self.stall)
            if not r_valid and reads and reads[0][4] <= self.cycle and rng.random() >= self.stall:
                addr, axi_id, resp, last, _ = reads[0]
                line = bytes(self.data[addr:addr + self.bus_bytes])
                ctx.set(bus.r.payload, {"id": axi_id, "resp": resp, "last": last,
                                        "data": int.from_bytes(line, "little")})
                r_valid = True
            if not b_valid and answers and answers[0][1] <= self.cycle \
                    and rng.random() >= self.stall:
                ctx.set(bus.b.payload, {"id": answers[0][2], "resp": answers[0][0]})
                b_valid = True
            ctx.set(bus.r.valid, r_valid)
            ctx.set(bus.b.valid, b_valid)

    def _write(self, writes, wdata, answers):
        while writes and wdata:
            addr, beats = writes[0]
            if len(wdata) < beats:
                assert not any(p.last for p in wdata), "WLAST too early"
                return
            writes.popleft()
            burst = [wdata.popleft() for _ in range(beats)]
            assert [p.last for p in burst] == [0] * (beats - 1) + [1], "WLAST in the wrong beat"
            resp = self._response(addr, beats * self.bus_bytes)
            for i, p in enumerate(burst):
                at = addr + i * self.bus_bytes
                line = p.data.to_bytes(self.bus_bytes, "little")
                for j in range(self.bus_bytes):
                    if p.strb >> j & 1:
                        self.touched.add(at + j)
                        if not resp:
                            self.data[at + j] = line[j]
            self.answered.append((addr, beats))
            wrong = self._wrong(self.answered)
            for _ in range(1 + (wrong == "more")):
                answers.append((1 if wrong == "exokay" else resp, self.cycle + self.latency,
                                wrong == "bid"))
