# SPDX-License-Identifier: Apache-2.0
"""Classify handwritten digits on the simulated hardware: what ``make run`` does.

The INT8 network in this folder is compiled, 64 held-out images run on the simulated RTL, all 360 on
the golden model, and both are compared with ONNX Runtime. The picture is ``build/digits.png``.
"""

import sys
import time
from pathlib import Path

import numpy as np

from examples.digits import INPUT, INT8, OUTPUT, held_out
import makalu
from makalu import facts
from makalu.cli.console import out, progress
from makalu.measure.witness import Agreement, compare, reference
from makalu.text import number, percent
from runtime.session import Session
from sim.device import RtlDevice

CONFIG, ON_RTL = "core256", 64
HOST = ("QuantizeLinear", "DequantizeLinear")
"""The network takes and gives floats; the host converts them."""
PICTURE = Path("build/digits.png")
GOOD, BAD, INK, PAPER = "#2e9e5b", "#d64545", "#1f2933", "#fbfaf7"


def classify(session: Session, images: np.ndarray, what: str) -> tuple[np.ndarray, float]:
    """Logits, and the seconds that they took."""
    start = time.monotonic()
    with progress(what, "images") as update:
        logits = session.run({INPUT: images}, progress=update)[OUTPUT]
    return logits, time.monotonic() - start


def draw(images: np.ndarray, labels: np.ndarray, guesses: np.ndarray, lines: list[str]) -> None:
    """The images with what the hardware saw in them."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    side = int(len(images) ** 0.5)
    figure, axes = plt.subplots(side, side, figsize=(8, 9.4), facecolor=PAPER)
    for axis, image, label, guess in zip(axes.flat, images, labels, guesses, strict=True):
        color = GOOD if guess == label else BAD
        axis.imshow(image[0], cmap="bone_r", interpolation="bicubic")
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set(color=color, linewidth=2)
        text = str(guess) if guess == label else f"{guess}, not {label}"
        axis.set_title(text, color=color, fontsize=12, fontweight="bold", pad=3)
    figure.text(0.05, 0.965, lines[0], fontsize=17, fontweight="bold", color=INK)
    for i, line in enumerate(lines[1:]):
        figure.text(0.05, 0.94 - 0.022 * i, line, fontsize=10.5, color=INK)
    figure.subplots_adjust(left=0.05, right=0.95, bottom=0.02, top=0.87, hspace=0.42, wspace=0.18)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=120, facecolor=PAPER)
    plt.close(figure)


def show(name: str, agreement: Agreement, right: float, n: int) -> None:
    out.print(f"[bold]{name}[/bold]: {right:.2%} of {n} images right; against ONNX Runtime "
              f"{agreement}", markup=True)


def main() -> int:
    images, labels = held_out()
    program = makalu.compile(INT8, CONFIG, host=HOST)
    out.print(f"[bold]{INT8.name}[/bold] compiled for {CONFIG}: {program.instruction_count} "
              f"instructions, {program.macs:,} MACs an image", markup=True)
    witness = reference(INT8, {INPUT: images})[OUTPUT]

    with makalu.open_device("golden", CONFIG) as machine:
        golden, _ = classify(Session(program, machine), images, "golden model")
    show("golden model", compare(golden, witness), float((golden.argmax(1) == labels).mean()),
         len(labels))

    with RtlDevice(program.config) as device:
        session = Session(program, device)
        logits, seconds = classify(session, images[:ON_RTL], "simulated hardware")
    guesses = logits.argmax(axis=1)
    right = int((guesses == labels[:ON_RTL]).sum())
    show("simulated hardware", compare(logits, witness[:ON_RTL]), right / ON_RTL, ON_RTL)
    same = np.array_equal(logits, golden[:ON_RTL])
    out.print("simulated hardware against the golden model: "
              + ("all bits are the same" if same else "[red]DIFFERENT BITS[/red]"), markup=True)

    n = facts.measured(program, session.counters)
    rate = device.simulated_cycles / device.simulated_seconds
    lines = [
        f"{right} of {ON_RTL} digits right, on simulated hardware",
        (f"{n['cycles']:,} cycles an image: {percent(n['mac_utilization'])} of the multipliers' "
         f"capacity, {percent(n['roofline_share'])} of the roofline"),
        (f"{ON_RTL} images in {seconds:.1f} s, {number(rate)} simulated cycles a second "
         f"({CONFIG}, {device.library.verilog_lines:,} lines of Verilog)")]
    for line in lines[1:]:
        out.print(line)
    draw(images[:ON_RTL], labels[:ON_RTL], guesses, lines)
    out.print(f"picture: {PICTURE}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
