# SPDX-License-Identifier: Apache-2.0
"""``makalu generate`` as its user sees it."""

import json
from pathlib import Path

import onnx

from compiler.compile import compile_decoder
from examples.digits import FP32
from examples.transformers import TEXT
from isa.presets import PRESETS
from makalu.text import plain
from tests.compiler.decoder import decoder
from tests.makalu.cli.test_cli import makalu
from tests.makalu.test_tokens import SENTENCES, VOCABULARY, bpe

PROMPT = ("--prompt", "The class ")


def test_text_and_what_it_agrees_with(tmp_path: Path) -> None:
    program = tmp_path / "topics.mkl"
    done = makalu("generate", TEXT, *PROMPT, "--tokens", 12, "--check")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("The class ") and len(lines[0]) == 22
    assert "golden model of core256_fp, fp16: prompt of 10 tokens in 1 executions" in done.stdout
    assert "cycles predicted, roofline" in done.stdout
    assert "all 12 tokens are the likeliest in FP32 as well" in done.stdout
    made = makalu("compile", TEXT, "--context", 128, "--host", "all", "-o", program).stdout
    assert "for core256_fp" in made
    again = json.loads(makalu("generate", program, *PROMPT, "--tokens", 12, "--check", "--model",
                              TEXT, "--json").stdout)
    assert again["text"] == lines[0][10:] and len(again["tokens"]) == 12
    assert again["check"]["same"] == 12 and again["check"]["sqnr_db"] > 50
    drawn = [json.loads(makalu("generate", program, *PROMPT, "--tokens", 12, "--temperature", 1.5,
                               "--seed", seed, "--json").stdout)["text"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_tokenizer_beside_the_model(tmp_path: Path) -> None:
    model, words = tmp_path / "model.onnx", bpe(tmp_path / "tokenizer.json")
    onnx.save(decoder(vocabulary=VOCABULARY), model)
    options = ("--prompt", SENTENCES[0], "--tokens", 6, "--config", "tiny_fp", "--context", 40)
    made = json.loads(makalu("generate", model, *options, "--check", "--json").stdout)
    assert made["prompt_tokens"] == len(words.encode(SENTENCES[0]).ids) < len(SENTENCES[0])
    assert made["check"]["same"] == len(made["tokens"]) == 6
    assert made["text"] == words.decode(made["tokens"]).removesuffix("\N{REPLACEMENT CHARACTER}")
    shown = makalu("generate", model, *options).stdout
    assert shown.startswith(SENTENCES[0] + plain(made["text"]) + "\n")


def test_a_decoder_is_no_network_alone(tmp_path: Path) -> None:
    for command in ("compile", "profile"):
        refuse("makalu compile --context N makes a program of it, which makalu generate runs", TEXT,
               command=command)
    program, none = tmp_path / "topics.mkl", tmp_path / "none.npy"
    refuse("it is a decoder", TEXT, "--input", none, command="run")
    refuse("--quantize is not for a decoder", TEXT, "--context", 16, "--quantize", "ort",
           command="compile")
    refuse("no key-value cache", FP32, "--context", 16, command="compile")
    refuse("--host Gather", TEXT, "--context", 16, command="compile")
    compile_decoder(decoder(), PRESETS["tiny_fp"], context=16, prefill=4, allow_host=("all",)
                    ).save(program)
    for command, *options in ("run", "--input", none), ("profile",), ("bisect",):
        refuse("run it with makalu generate", program, *options, command=command)
    assert json.loads(makalu("quote", program, "--json").stdout)["batches"][0]["batch"] == 1
    assert "TENSOR" in makalu("disassemble", program).stdout


def refuse(message: str, *arguments: object, command: str = "generate") -> None:
    error = makalu(command, *arguments, code=1).stderr
    assert error.startswith("makalu: ") and error.count("\n") == 1 and message in error


def test_refused(tmp_path: Path) -> None:
    refuse("no key-value cache", FP32, *PROMPT)
    refuse("make one with makalu compile, of a decoder with --context", "README.md", *PROMPT)
    refuse("no token to begin with", TEXT, "--prompt", "")
    refuse("195 is none of them", TEXT, "--prompt", "é")
    refuse("24 more do not fit", TEXT, *PROMPT, "--tokens", 15, "--context", 16)
    refuse("computes with int8", TEXT, *PROMPT, "--config", "core256")
    refuse("--host Gather", TEXT, *PROMPT, "--host", "none")
    refuse("add --model MODEL", tmp_path / "x.mkl", *PROMPT, "--check")
