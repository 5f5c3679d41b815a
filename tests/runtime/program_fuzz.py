# SPDX-License-Identifier: Apache-2.0
"""Program files that are damaged at random, or made to deceive, and what becomes of them.

``python -m tests.runtime.program_fuzz 100000`` tries so many and counts how they end.
"""

import collections
import copy
import functools
import hashlib
import json
import random
import struct
import sys
import time
from typing import Any

import numpy as np

from compiler import compile_model
from compiler.compile import compile_decoder
from isa.layout import _pixels, pack, unpack
from isa.presets import PRESETS
from isa.program import MAGIC, Program, ProgramError
from runtime.device import DeviceFault
from runtime.generator import Generator
from runtime.golden_device import GoldenDevice
from runtime.ports import Port
from runtime.session import Session
from tests.compiler.decoder import decoder
from tests.compiler.models import Net
from tests.sim.standin import noise

HEADER = 40
"""Bytes of magic and checksum."""

LARGE = 1 << 24
"""Bytes of the largest regions and inputs that are run."""

NUMBERS = (
    0, 1, -1, 2, 3, 4, 7, 15, 16, 64, 127, 128, 255, 4095, 65536, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**32 + 1, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -2**31, -2**63, 10**400,
    -10**400, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
OTHERS = (
    None, True, False, "", "x", "\ud800", "\x1b[31m", "a" * 70_000, [], {}, [[]], [0], [1] * 40,
    {"name": 1}, [None], "NaN", "int8", "uint8", "float16", "bfloat16", "packed", "blocked")
DEEP = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 50_000 + b"]" * 50_000, b"null", b"3", b'"x"',
        b"[]", b"{}", b"", b"\xff\xfe", b"9" * 5000, b'{"name": NaN}')


def sealed(body: bytes) -> bytes:
    """A file whose checksum is right."""
    return MAGIC + hashlib.sha256(body).digest() + body


@functools.cache
def originals() -> tuple[bytes, ...]:
    """Small convolutions: of integers alone, with parts for the host at both edges, in FP16; and a
    decoder with a cache."""
    weights = np.arange(2 * 3 * 9, dtype=np.int8).reshape(2, 3, 3, 3) - 20
    files = []
    for kind, machine in (("int8", "tiny"), ("float32", "tiny"), ("float32", "tiny_fp")):
        n, floats = Net(), machine == "tiny_fp"
        x = n.input("x", kind, [1, 3, 4, 5])
        at = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if floats:
            y = n.op("Conv", x, n.constant(weights.astype(np.float32) / 64), **at)
        else:
            q = x if kind == "int8" else n.q(x, 0.5, 3, "int8")
            y = n.op("Conv", n.dq(q, 0.5, 3, "int8"), n.weights(weights, 0.25), **at)
            y = n.q(y, 2.0, 1, "int8")
            y = y if kind == "int8" else n.dq(y, 2.0, 1, "int8")
        program = compile_model(n.model(y, kind=kind), PRESETS[machine], allow_host=("all",),
                                precision="fp16" if floats else "int8")
        files.append(program.to_bytes())
    files.append(compile_decoder(decoder(), PRESETS["tiny_fp"], context=8, prefill=4,
                                 allow_host=("all",)).to_bytes())
    return tuple(files)


class Fuzzer:
    """Files one after another, the same for the same seed."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)

    def damaged(self) -> bytes:
        """A file with bits inverted, bytes overwritten, cut off, put in, taken out or moved."""
        rng, data = self.rng, bytearray(self.rng.choice(originals()))
        for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
            at, size = rng.randrange(len(data) or 1), rng.choice((1, 2, 4, 31, 500))
            kind = rng.randrange(6)
            if kind == 0 and data:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at:at + size] = rng.randbytes(size)
            elif kind == 2:
                del data[at:]
            elif kind == 3:
                data[at:at] = rng.randbytes(size)
            elif kind == 4:
                del data[at:at + size]
            else:
                data[at:at] = data[:size]
        return bytes(data)

    def crafted(self) -> bytes:
        """A file whose checksum is right and whose header, image or host parts are not."""
        rng = self.rng
        body = rng.choice(originals())[HEADER:]
        (length,) = struct.unpack_from("<Q", body)
        header, blobs = json.loads(body[8:8 + length]), bytearray(body[8 + length:])
        kind = rng.randrange(12)
        if kind == 0:
            text = rng.choice(DEEP)
        elif kind == 1:
            return sealed(struct.pack("<Q", rng.choice((0, 1, length - 1, length + 1, 2**32, 2**63,
                                                        2**64 - 1))) + body[8:])
        elif kind <= 3:     # instructions, weights, ONNX
            for _ in range(rng.choice((1, 3, 20))):
                at = rng.randrange(len(blobs))
                blobs[at] = rng.choice((blobs[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
            text = body[8:8 + length]
        else:
            for _ in range(rng.choice((1, 1, 2, 4))):
                header = self._changed(header)
            text = json.dumps(header).encode()
            if kind == 4:
                at = rng.randrange(len(text))
                text = text[:at] + rng.randbytes(rng.randrange(4)) + text[at + 1:]
        return sealed(struct.pack("<Q", len(text)) + text + blobs)

    def _changed(self, header: Any) -> Any:
        """The header with one value, key or item other than it was."""
        rng = self.rng
        header = at = copy.deepcopy(header)
        if rng.random() < 0.5 and isinstance(at, dict):     # where most is at stake
            at = at.get(rng.choice(("inputs", "outputs", "region_sizes", "blobs", "config")), at)
        while isinstance(at, dict | list) and at:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.1:
                break
            at = at[key]
        else:
            return rng.choice(OTHERS)
        old, kind = at[key], rng.randrange(8)
        if kind == 0:
            del at[key]
        elif kind == 1 and isinstance(at, dict):
            at[rng.choice(("__class__", "shape", "9", "\x1b[2J", ""))] = old
        elif kind == 1:
            at.insert(key, copy.deepcopy(old))
        elif kind <= 4 and isinstance(old, int | float) and abs(old) < 2**63:
            at[key] = rng.choice((old + 1, old - 1, 2 * old, old + 4, old + 16, -old, old // 2))
        else:
            at[key] = rng.choice(NUMBERS if kind <= 6 else OTHERS)
        return header


def outcome(data: bytes) -> str:
    """How a file ends: refused when it is read or when a session begins, too large to be tried,
    stopped by the machine, or run. Every other exception passes."""
    try:
        program = Program.from_bytes(data, "fuzz")
    except ProgramError as e:
        assert "\n" not in str(e) and str(e).startswith("fuzz: ")
        return "refused"
    assert Program.from_bytes(program.to_bytes()) == program
    if max(len(program.image), *program.region_sizes.values(), 0) > LARGE:
        return "too large to be tried"
    lanes = program.config.word_bytes
    for b in (*program.inputs, *program.outputs):
        memory = np.full(b.size, 0xA5, np.uint8)
        low, high = np.lib.array_utils.byte_bounds(_pixels(memory, b, lanes))
        start, end = np.lib.array_utils.byte_bounds(memory)
        assert start <= low < high <= end
        assert pack(b, unpack(b, memory, lanes), lanes).size == b.size
    try:
        session = Session(program, GoldenDevice(program.config), bool(program.patches))
        if any(np.prod(port.shape, dtype=object) > LARGE for port in session.inputs):
            return "too large to be tried"
        if program.patches:
            generator = Generator(program, GoldenDevice(program.config))
            generator.prefill([0] * min(5, generator.context))
        else:
            session.run({port.name: sample(port) for port in session.inputs})
    except ProgramError as e:
        assert "compile the model again" in str(e)
        return "refused by the session"
    except DeviceFault:
        return "stopped by the machine"
    return "run"


def sample(port: Port) -> np.ndarray:
    """An input of a port's type and shape."""
    return noise(tuple(d or 1 for d in port.shape)).astype(port.dtype)


def fuzz(count: int, seed: int) -> dict[str, int]:
    """How ``count`` files end, half of them of either kind."""
    fuzzer, found = Fuzzer(seed), collections.Counter[str]()
    for k in range(count):
        if k % 2:
            found[f"crafted, {outcome(fuzzer.crafted())}"] += 1
        else:
            data = fuzzer.damaged()
            end = outcome(data)
            assert end == "refused" or data in originals()
            found[f"damaged, {end}"] += 1
    return dict(found)


def main() -> None:
    """The command line: how many, and a seed."""
    count, seed = (int(v) for v in (*sys.argv[1:], "1")[:2])
    start = time.monotonic()
    for text, n in sorted(fuzz(count, seed).items()):
        print(f"{n:8,} {text}")
    print(f"{count:8,} files in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
