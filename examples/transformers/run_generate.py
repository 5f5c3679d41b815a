# SPDX-License-Identifier: Apache-2.0
"""Text from the simulated hardware beside ONNX Runtime's, token for token: what ``make generate``
does.

The generator in this folder is compiled; its cache stays on the machine. ONNX Runtime runs the same
file in FP32, with a cache of its own that grows, and continues with its own tokens.
"""

import sys
import time

import numpy as np

import makalu
from examples.transformers import TEXT
from makalu import facts
from makalu.cli.console import out
from makalu.measure.decoding import Witness
from makalu.text import percent
from makalu.tokens import Bytes
from runtime.generator import Generator
from sim.device import RtlDevice

CONFIG, CONTEXT, TOKENS = "core256_fp", 128, 64
PROMPT = "The class definition "


def shown(text: str) -> str:
    """On one line."""
    return text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")


def theirs(ids: list[int], count: int) -> list[int]:
    """ONNX Runtime's tokens, always the likeliest."""
    witness, found = Witness(TEXT), list[int]()
    logits = witness.take(ids)
    while len(found) < count:
        found.append(int(logits.argmax()))
        logits = witness.take(found[-1:])
    return found


def ours(generator: Generator, ids: list[int], count: int) -> tuple[list[int], list[dict]]:
    """The hardware's tokens, shown as they come, and the counters of each execution for one."""
    found, counters = list[int](), list[dict]()
    for token in generator.tokens(ids, count):
        if found:
            counters += [run.counters for run in generator.runs]
        found.append(token)
        out.print(shown(Bytes().decode([token])), end="")
        out.file.flush()
    out.print()
    return found, counters


def main() -> int:
    prompt = sys.argv[1] if len(sys.argv) > 1 else PROMPT
    ids = Bytes().encode(prompt)
    program = makalu.decoder(TEXT, CONFIG, context=CONTEXT, host=("all",))
    start = time.monotonic()
    with RtlDevice(program.config) as device:
        generator = Generator(program, device)
        out.print(f"prompt        {shown(prompt)}")
        out.print(f"{CONFIG}    ", end="")
        mine, counters = ours(generator, ids, TOKENS)
    seconds = time.monotonic() - start
    other = theirs(ids, TOKENS)
    out.print(f"ONNX Runtime  {shown(Bytes().decode(other))}")
    same = int((np.array(mine) == other).cumprod().sum())
    n = facts.measured(program, counters)
    out.print(f"{same} of {TOKENS} tokens are the same from the first on; {n['cycles']:,} cycles a "
              f"token, {percent(n['roofline_share'])} of the roofline of {n['roofline_cycles']:,}; "
              f"{seconds:.0f} s")
    return 0 if same == TOKENS else 1


if __name__ == "__main__":
    sys.exit(main())
