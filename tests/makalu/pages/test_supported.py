# SPDX-License-Identifier: Apache-2.0
"""The page "can my model run?" is up to date, and says what the compiler says."""

import numpy as np
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.lower.operators import HANDLERS
from isa.presets import PRESETS
from makalu.pages.supported import PAGE, errors, operators, page, refusals
from tests.compiler.models import Net


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "docs/supported.md: run make docs"


def test_every_operator_has_its_limits() -> None:
    rows = {line.split("|")[1].strip(): line for line in operators().splitlines()[2:]}
    assert rows.keys() == HANDLERS.keys()
    assert all(handler.__doc__ for handler in HANDLERS.values())
    types = {name: [cell.strip() for cell in row.split("|")[2:4]] for name, row in rows.items()}
    assert types["Conv"] == ["yes", "yes"] and types["Softmax"] == ["", "yes"]
    assert types["Sigmoid"] == ["", "yes"] and types["QLinearConv"] == ["yes", ""]


def test_refusals_are_those_of_the_functions_behind_a_handler() -> None:
    assert ("it returns indices", "remove the second output") in refusals(HANDLERS["MaxPool"])
    pooled = "it pools over … dimensions", "pool over one or two dimensions"
    assert pooled in refusals(HANDLERS["MaxPool"]) and pooled not in refusals(HANDLERS["Conv"])
    assert any(reason == "it is an FP32 model" for reason, _ in errors())


def test_a_refusal_of_the_compiler_is_in_the_page() -> None:
    net = Net()
    weight = net.constant(np.zeros((4, 3, 3, 3, 3), np.float32))
    model = net.model(net.op("Conv", net.input("x", "float32", (1, 3, 5, 5, 5)), weight),
                      kind="float32")
    with pytest.raises(CompileError) as caught:
        compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    assert "docs/supported.md" in str(caught.value)
    reason = caught.value.reason.replace("3 dimensions", "… dimensions")
    assert any(reason == r and caught.value.cure.startswith(c)
               for r, c in refusals(HANDLERS["Conv"]))
