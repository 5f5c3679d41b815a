# SPDX-License-Identifier: Apache-2.0
"""Converts a TensorFlow model and runs the original: a process of its own, so that nothing else
imports TensorFlow. A job comes as JSON on standard input, its answer is files in a folder::

    job      {"format", "path", "folder", "inputs", "outputs", "shapes", "opset", "layers"}
    answer   model.onnx, values.npz (``in:NAME``, ``out:NAME``, ``layer:NAME``), report.json

Only :mod:`compiler.source.imports.foreign` starts it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def sample(shape: list[int], dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """A seeded input: floats from -1 to 1, integers over their whole range, 0 and 1 of 32 bits."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.uniform(-1, 1, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    bounds = np.iinfo(dtype)
    low, high = (bounds.min, bounds.max) if dtype.itemsize == 1 else (0, 1)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def fixed(name: str, shape: Any, shapes: dict[str, list[int]]) -> list[int]:
    """The shape of an input: the one given, or its own with unknown dimensions 1."""
    given = shapes.get(name, shapes.get(name.split(":")[0]))
    if given is not None:
        return given
    if getattr(shape, "rank", 0) is None:
        raise Refused(f"input {name!r} has no shape", f"give it: --shape {name}=1,…")
    return [1 if d is None or d < 0 else int(d) for d in shape]


def tflite(job: dict[str, Any]) -> dict[str, np.ndarray]:
    """A .tflite file: its values."""
    import tensorflow as tf
    import tf2onnx

    interpreter = tf.lite.Interpreter(job["path"], experimental_preserve_all_tensors=job["layers"])
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    tf2onnx.convert.from_tflite(job["path"], opset=job["opset"],
                                output_path=str(Path(job["folder"]) / "model.onnx"))
    rng = np.random.default_rng(0)
    values = {}
    for i in inputs:
        values[f"in:{i['name']}"] = x = sample(i["shape"].tolist(), i["dtype"], rng)
        interpreter.set_tensor(i["index"], x)
    interpreter.invoke()
    values |= {f"out:{o['name']}": interpreter.get_tensor(o["index"]) for o in outputs}
    if job["layers"]:
        for t in interpreter.get_tensor_details():
            try:
                values[f"layer:{t['name']}"] = interpreter.get_tensor(t["index"])
            except ValueError:
                continue    # a tensor that no run fills
    return values


def graph(job: dict[str, Any]) -> dict[str, np.ndarray]:
    """A frozen GraphDef, or what becomes one, a SavedModel or a Keras model: its values."""
    import tensorflow as tf
    import tf2onnx

    if job["format"] == "GRAPH_DEF":
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(Path(job["path"]).read_bytes())
        inputs, outputs = ends(definition, job["inputs"], job["outputs"])
    else:
        definition, inputs, outputs = frozen(job)
    with tf.Graph().as_default() as g:
        tf.import_graph_def(definition, name="")
        rng = np.random.default_rng(0)
        shapes = {n: fixed(n, g.get_tensor_by_name(n).shape, job["shapes"]) for n in inputs}
        feeds = {n: sample(shapes[n], g.get_tensor_by_name(n).dtype.as_numpy_dtype, rng)
                 for n in inputs}
        wanted = {f"out:{n}": n for n in outputs}
        if job["layers"]:
            wanted |= {f"layer:{o.name}": o.name for op in g.get_operations() for o in op.outputs
                       if op.type not in ("Const", "Placeholder")}
        with tf.compat.v1.Session(graph=g) as session:
            found = session.run(wanted, feeds)
    tf2onnx.convert.from_graph_def(
        definition, input_names=inputs, output_names=outputs, opset=job["opset"],
        shape_override=shapes, output_path=str(Path(job["folder"]) / "model.onnx"),
        custom_op_handlers={"Erfc": (erfc, [])})
    return {**{f"in:{n}": x for n, x in feeds.items()}, **found}


def erfc(ctx: Any, node: Any, name: str, args: Any) -> Any:
    """``1 - Erf``, which the converter lacks."""
    node.type = "Erf"
    one = ctx.make_const(f"{name}_one", np.ones((), np.float32))
    outputs, node_outputs = list(node.output), ctx.find_output_consumers(node.output[0])
    sub = ctx.make_node("Sub", [one.output[0], outputs[0]], name=f"{name}_complement")
    ctx.replace_all_inputs(outputs[0], sub.output[0], ops=node_outputs)
    return sub


def ends(definition: Any, inputs: list[str], outputs: list[str]) -> tuple[list[str], list[str]]:
    """Names of the tensors at a graph's edges: those given, or its placeholders and what nobody
    reads."""
    read = {n.split(":")[0].lstrip("^") for node in definition.node for n in node.input}
    nodes = {n.name for n in definition.node}
    first = [n.name for n in definition.node if n.op == "Placeholder"]
    last = [n.name for n in definition.node
            if n.name not in read and n.op not in ("Const", "NoOp", "Placeholder", "Assert")]
    for name in (*inputs, *outputs):
        if name.split(":")[0] not in nodes:
            raise Refused(f"there is no node {name!r}",
                          f"name some of these: {', '.join(first + last)}")
    if not (inputs or first) or not (outputs or last):
        raise Refused("no placeholder is its input, or no node its output",
                      "name them: --model-input NAME, --model-output NAME")
    return ([n if ":" in n else f"{n}:0" for n in inputs or first],
            [n if ":" in n else f"{n}:0" for n in outputs or last])


def frozen(job: dict[str, Any]) -> tuple[Any, list[str], list[str]]:
    """The GraphDef of a SavedModel's signature or of a Keras model, its variables constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2)

    if job["format"] == "KERAS":
        model = tf.keras.models.load_model(job["path"], compile=False)
        specs = [tf.TensorSpec(fixed(i.name, i.shape, job["shapes"]), i.dtype,
                               name=i.name.split(":")[0]) for i in model.inputs]
        function = tf.function(lambda *x: model(list(x) if len(x) > 1 else x[0], training=False),
                               input_signature=specs).get_concrete_function()
    else:
        model = tf.saved_model.load(job["path"])
        signatures = dict(model.signatures)
        if not signatures:
            raise Refused("the SavedModel has no signature", "export it with one, as model.export")
        function = signatures.get("serving_default", next(iter(signatures.values())))
    done = convert_variables_to_constants_v2(function)
    inputs = [t.name for t in done.inputs if t.dtype != tf.resource]
    return done.graph.as_graph_def(), inputs, [t.name for t in done.outputs]


class Refused(Exception):
    """A model that cannot be taken: the cause and the cure."""


def main() -> None:
    """One job."""
    job = json.load(sys.stdin)
    folder = Path(job["folder"])
    try:
        values = (tflite if job["format"] == "TFLITE" else graph)(job)
    except Refused as e:
        (folder / "report.json").write_text(json.dumps({"cause": e.args[0], "cure": e.args[1]}))
        return
    np.savez(folder / "values.npz", **values)   # type: ignore[arg-type]  # stubs: a keyword's type
    import tensorflow as tf
    import tf2onnx
    (folder / "report.json").write_text(json.dumps({
        "by": f"tf2onnx {tf2onnx.__version__}, TensorFlow {tf.__version__}"}))


if __name__ == "__main__":
    main()
