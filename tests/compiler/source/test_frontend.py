# SPDX-License-Identifier: Apache-2.0
"""A model as the compiler reads it."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from compiler.source.frontend import load


def test_shapes_that_folding_makes_known() -> None:
    """A Range whose end is folded has a shape, and what reads it as well."""
    nodes = [helper.make_node("Shape", ["x"], ["count"], start=1),
             helper.make_node("Squeeze", ["count"], ["end"]),
             helper.make_node("Range", ["zero", "end", "one"], ["row"]),
             helper.make_node("Cast", ["row"], ["weights"], to=TensorProto.FLOAT),
             helper.make_node("Mul", ["z", "weights"], ["y"])]
    constants = [numpy_helper.from_array(np.int64(v), n) for n, v in (("zero", 0), ("one", 1))]
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
               for name, size in (("x", 5), ("y", 5), ("z", 1)))
    model = helper.make_model(helper.make_graph(nodes, "net", [x, z], [y], constants),
                              opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    source = load(model)
    assert [n.op_type for n in source.nodes] == ["Mul"]
    assert source.shapes["y"] == (1, 5)
    assert source.constants["weights"].tolist() == [0, 1, 2, 3, 4]
