# SPDX-License-Identifier: Apache-2.0
"""``makalu generate`` as its user sees it."""

import json
from pathlib import Path

from examples.digits import FP32
from examples.transformers import TEXT
from tests.makalu.cli.test_cli import makalu

PROMPT = ("--prompt", "The class ")


def test_text_and_what_it_agrees_with(tmp_path: Path) -> None:
    program = tmp_path / "topics.mkl"
    done = makalu("generate", TEXT, *PROMPT, "--tokens", 12, "--check", "--output", program)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("The class ") and len(lines[0]) == 22
    assert "golden model of core256_fp, fp16: prompt of 10 tokens in 1 executions" in done.stdout
    assert "cycles predicted, roofline" in done.stdout
    assert "all 12 tokens are the likeliest in FP32 as well" in done.stdout
    again = json.loads(makalu("generate", program, *PROMPT, "--tokens", 12, "--check", "--model",
                              TEXT, "--json").stdout)
    assert again["text"] == lines[0][10:] and len(again["tokens"]) == 12
    assert again["check"]["same"] == 12 and again["check"]["sqnr_db"] > 50
    drawn = [json.loads(makalu("generate", program, *PROMPT, "--tokens", 12, "--temperature", 1.5,
                               "--seed", seed, "--json").stdout)["text"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def refuse(message: str, *arguments: object) -> None:
    error = makalu("generate", *arguments, code=1).stderr
    assert error.startswith("makalu: ") and error.count("\n") == 1 and message in error


def test_refused(tmp_path: Path) -> None:
    refuse("no key-value cache", FP32, *PROMPT)
    refuse("no token to begin with", TEXT, "--prompt", "")
    refuse("195 is none of them", TEXT, "--prompt", "é")
    refuse("24 more do not fit", TEXT, *PROMPT, "--tokens", 15, "--context", 16)
    refuse("computes with int8", TEXT, *PROMPT, "--config", "core256")
    refuse("--host Gather", TEXT, *PROMPT, "--host", "none")
    refuse("add --model MODEL", tmp_path / "x.mkl", *PROMPT, "--check")
