# SPDX-License-Identifier: Apache-2.0
"""Trains a network in each framework, runs it on the machine, and writes docs/frameworks.md."""

from pathlib import Path

from examples.frameworks import caffe2_digits, keras_digits, torch_digits
from examples.frameworks.page import HEAD, cells, report
from examples.frameworks.trial import CONFIG, ON_RTL
from makalu.cli.console import out
from makalu.pages.isa_pages import DOCS, table

PAGE = DOCS / "frameworks.md"

TEXT = f"""<!-- SPDX-License-Identifier: Apache-2.0 -->
# Frameworks

Made by `make frameworks`, which installs TensorFlow and PyTorch into an environment of its own,
trains a small network of the digits in each, and takes it from the framework's file to cycles on
the simulated hardware ([examples/frameworks](../examples/frameworks)). What each format needs and
how an import is checked is in [formats.md](formats.md).

360 held-out digits on the golden model of `{CONFIG}` in INT8, {ON_RTL} of them on the RTL with the
same bits. *Difference after import*: of the imported ONNX from the framework's answers, relative to
the largest. The float networks are quantized with 128 training pictures; the TensorFlow Lite file
is INT8 as it comes. Caffe2 runs on no Python of today: PyTorch's answers with the same weights
stand for it.

"""


def main() -> None:
    rows = report([keras_digits.trials, torch_digits.trials, caffe2_digits.trials])
    same, of = torch_digits.compiled_agrees()
    said = (f'`torch.compile(net, backend="makalu")` puts {same} of {of} digits into the class '
            "that PyTorch does.\n")
    out.print(said)
    PAGE.write_text(TEXT + table(HEAD, map(cells, rows)) + "\n" + said)
    out.print(f"{Path(PAGE).name} written")


if __name__ == "__main__":
    main()
