# SPDX-License-Identifier: Apache-2.0
"""Trains a network in each framework, runs it on the machine, and writes docs/frameworks.md; with
``MAKALU_MODELS``, the networks of that folder as well, otherwise the page keeps what it has.
"""

import os
from functools import partial
from pathlib import Path

from examples.frameworks import caffe2_digits, keras_digits, models_folder, torch_digits
from examples.frameworks.page import HEAD, cells, report
from examples.frameworks.trial import CONFIGS, ON_RTL, Row
from makalu.cli.console import out
from makalu.measure.networks import MODELS
from makalu.pages.isa_pages import DOCS, table

PAGE = DOCS / "frameworks.md"

TEXT = f"""<!-- SPDX-License-Identifier: Apache-2.0 -->
# Frameworks

Made by `make frameworks`, which installs TensorFlow and PyTorch into an environment of its own,
trains a small network of the digits in each, and takes it from the framework's file to cycles on
the simulated hardware ([examples/frameworks](../examples/frameworks)). What each format needs and
how an import is checked is in [formats.md](formats.md).

360 held-out digits on the golden model of `{CONFIGS["int8"]}`, {ON_RTL} of them on the RTL with the
same bits. *Difference after import*: of the imported ONNX from the framework's answers, relative to
the largest. The float networks are quantized with 128 training pictures; the TensorFlow Lite file
is INT8 as it comes. Caffe2 runs on no Python of today: PyTorch's answers with the same weights
stand for it.

"""

HEADING = "## Networks of others"

FOLDER = f"""
{HEADING}

Made by `{MODELS}=FOLDER make frameworks`. INT8 on `{CONFIGS["int8"]}`, FP16 on
`{CONFIGS["fp16"]}`; FP32 files with data are quantized with {models_folder.CALIBRATION} of the
inputs that are not tested. Inputs: 400 spoken words (DS-CNN), {models_folder.MNIST} digits of MNIST
({models_folder.LSTM} for the LSTM, which is unrolled), 5 photos, {models_folder.RANDOM} random
pictures for ResNet-8, and the pair that comes with the super-resolution network. For Caffe2, ONNX
Runtime's answers of the same network in ONNX stand. TensorFlow Lite rounds ResNet-8's additions in
another order than the standard, which changed 4 of 160 probabilities here, one by 0.07.

"""


def main() -> None:
    """Measure all, then write the page."""
    rows = report([keras_digits.trials, torch_digits.trials, caffe2_digits.trials])
    same, of = torch_digits.compiled_agrees()
    said = (f'`torch.compile(net, backend="makalu")` puts {same} of {of} digits into the class '
            "that PyTorch does.\n")
    out.print(said)
    PAGE.write_text(TEXT + _table(rows) + "\n" + said + _of_others())
    out.print(f"{PAGE.name} written")


def _of_others() -> str:
    """The second part of the page, measured if a folder is named."""
    if not (folder := os.environ.get(MODELS)):
        _, heading, rest = PAGE.read_text().partition(f"\n{HEADING}")
        return heading + rest
    rows = report([partial(models_folder.trials, Path(folder))])
    return FOLDER + _table(rows)


def _table(rows: list[Row]) -> str:
    return table(HEAD, map(cells, rows))


if __name__ == "__main__":
    main()
