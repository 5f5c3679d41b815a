# SPDX-License-Identifier: Apache-2.0
"""``makalu generate``: text of a decoder whose cache stays on the machine."""

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from isa.program import Program
from makalu import api, facts
from makalu.cli import console
from makalu.cli.decoder_options import decoder_options
from makalu.cli.options import device_option, json_option
from makalu.text import percent
from makalu.tokens import Tokenizer, tokenizer
from compiler.ir.floats import FLOATS
from compiler.source.imports.formats import is_model
from runtime.generator import Generator, Run


@click.command()
@click.argument("model")
@click.option("--prompt", required=True, metavar="TEXT", help="What the text begins with.")
@click.option("--tokens", "count", type=click.IntRange(1), default=32, show_default=True,
              metavar="N", help="Tokens to make.")
@device_option
@click.option("--config", default="core256_fp", show_default=True, metavar="NAME",
              help="The machine, which has floats.")
@click.option("--precision", type=click.Choice((*FLOATS, "w8")), default="fp16", show_default=True,
              help="What the model becomes.")
@decoder_options("128")
@click.option("--host", default="all", show_default=True, metavar="OP,…",
              help="ONNX operators that the host may run at the network's edges.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True,
              help="0: always the likeliest token; 1: by its probability; more: more freely.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of the chances that a temperature leaves.")
@click.option("--tokenizer", "tokenizer_file", metavar="FILE",
              help="A tokenizer.json.  [default: that beside the model, or else bytes]")
@click.option("--check", is_flag=True,
              help="Compare each token with ONNX Runtime's, in FP32 and with a cache that grows.")
@click.option("--model", "reference", metavar="MODEL",
              help="What --check compares a .mkl program with.")
@json_option
def generate(model: str, prompt: str, count: int, device: str, config: str, precision: str,
             context: tuple[int, ...], prefill: int, host: str, temperature: float, seed: int,
             tokenizer_file: str | None, check: bool, reference: str | None, as_json: bool
             ) -> None:
    """Continue a text with MODEL, an ONNX decoder with a key-value cache (or the .mkl program that
    makalu compile --context has made of one), whose cache stays on the machine.

    \b
    Examples:
      makalu generate examples/topics.onnx --prompt "The class " --tokens 64
      makalu generate examples/topics.onnx --prompt "The class " --device rtl --check
      makalu generate examples/topics.onnx --prompt "The class " --temperature 0.8 --seed 3
    """
    witnessed = reference or model
    if check and not is_model(witnessed):
        raise click.ClickException("--check compares with ONNX Runtime and needs the model: add "
                                   "--model MODEL")
    words = tokenizer(tokenizer_file, model)
    if is_model(model):
        with console.err.status(f"compiling {Path(model).name} for {config}"):
            program = api.decoder(
                model, config, context=context, prefill=prefill, precision=precision,
                host=() if host == "none" else tuple(h.strip() for h in host.split(",")))
    else:
        program = Program.load(model)
    ids = words.encode(prompt)
    with api.open_device(device, program.config) as machine:
        made = _Made(Generator(program, machine), words)
        start = time.monotonic()
        made.run(ids, count, temperature, seed, "" if as_json else prompt)
        seconds = time.monotonic() - start
    numbers = {"device": device, "config": program.config.name, "precision": program.precision,
               **made.numbers(), "wall_seconds": round(seconds, 3)}
    agreement = None
    if check:
        from makalu.measure.decoding import compare
        agreement = compare(witnessed, ids, made.logits, made.tokens)
    if as_json:
        console.emit_json({"text": words.decode(made.tokens), "tokens": made.tokens, **numbers,
                           **({"check": agreement.json()} if agreement else {})})
        return
    _show(numbers)
    if agreement:
        console.out.print(f"against ONNX Runtime in FP32: {agreement}")


class _Made:
    """What a generator makes, as it makes it."""

    def __init__(self, generator: Generator, words: Tokenizer):
        self.generator, self.words = generator, words
        self.tokens: list[int] = []
        self.logits: list[np.ndarray] = []
        self.prompt: list[Run] = []
        self.steps: list[Run] = []

    def run(self, ids: list[int], count: int, temperature: float, seed: int, shown: str) -> None:
        """Make ``count`` tokens; unless there is nothing of it to be ``shown``, print the text."""
        text = ""
        for token in self.generator.tokens(ids, count, temperature, seed):
            if not self.tokens:
                self.prompt = self.generator.runs
                self._print(shown)
            else:
                self.steps += self.generator.runs
            self.tokens.append(token)
            self.logits.append(self.generator.logits)
            if shown:
                longer = self.words.decode(self.tokens)
                self._print(longer[len(text):])
                text = longer
        self._print("\n" if shown else "")

    def _print(self, text: str) -> None:
        console.out.print(text, end="")
        console.out.file.flush()

    def numbers(self) -> dict[str, Any]:
        """Of the prompt, and of an execution for one token, the mean of all."""
        took = [r.counters.get("CYCLES") for r in self.prompt]
        cycles = [c for c in took if c is not None]
        steps = self.steps or self.prompt
        entries = [r.entry for r in steps]
        one = facts.measured(entries[-1], [r.counters for r in steps])
        one["roofline_cycles"] = round(sum(e.roofline_cycles for e in entries) / len(entries))
        one["predicted_cycles"] = round(sum(sum(e.predicted_cycles) for e in entries)
                                        / len(entries))
        one["roofline_share"] = facts.share(one["roofline_cycles"], one["cycles"] or 0)
        return {"prompt_tokens": sum(r.tokens for r in self.prompt),
                "prompt_executions": len(self.prompt),
                "prompt_cycles": sum(cycles) if cycles else None,
                "step": one if self.steps else None}


def _show(numbers: dict[str, Any]) -> None:
    n, step = numbers, numbers["step"]
    where = ("golden model of " if n["prompt_cycles"] is None else "") + n["config"]
    cycles = "" if n["prompt_cycles"] is None else f", {n['prompt_cycles']:,} cycles"
    console.out.print(f"{where}, {n['precision']}: prompt of {n['prompt_tokens']} tokens in "
                      f"{n['prompt_executions']} executions{cycles}; {n['wall_seconds']:.1f} s "
                      "in all")
    if step and step["cycles"] is not None:
        console.out.print(
            f"a token: {step['cycles']:,} cycles, roofline {step['roofline_cycles']:,} "
            f"({percent(step['roofline_share'])} reached), {step['dram_bytes']:,} DRAM bytes, "
            f"{percent(step['mac_utilization'])} of the multipliers' capacity")
    elif step:
        predicted = step["predicted_cycles"]
        console.out.print(
            f"a token: {predicted:,} cycles predicted, roofline {step['roofline_cycles']:,} "
            f"({percent(facts.share(step['roofline_cycles'], predicted))})")
