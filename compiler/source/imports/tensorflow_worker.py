# SPDX-License-Identifier: Apache-2.0
"""Converts a TensorFlow model and runs the original: a process of its own, so that nothing else
imports TensorFlow. A job comes as JSON on standard input, its answer is files in a folder::

    job      {"format", "path", "folder", "inputs", "outputs", "shapes", "values", "signature",
              "opset", "layers"}
    answer   model.onnx, values.npz (``in:NAME``, ``out:NAME``, ``layer:NAME``), report.json

Only :mod:`compiler.source.imports.foreign` starts it.
"""

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tensorflow_graph import (  # type: ignore[import-not-found]  # beside this script
    fold_random, random_nodes, set_numbers)


def sample(shape: list[int], dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """A seeded input: floats from -1 to 1, integers over their whole range, 0 and 1 of 32 bits."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "fbiu":
        raise Refused(f"an input is of {dtype}", "use inputs of real numbers")
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
        raise Refused(f"input {name!r} has no shape", f"give it: --shape {name}=1,…, or, if it is "
                      f"a number, --set {name.split(':')[0]}=…")
    dims = list(shape)
    if any(d is None or d < 0 for d in dims[1:]):
        known = ",".join("1" if i == 0 and d is None else "…" if d is None else str(d)
                         for i, d in enumerate(dims))
        raise Refused(f"input {name!r} has dimensions behind the first that are not fixed "
                      f"({', '.join('any' if d is None else str(d) for d in dims)})",
                      f"give them: --shape {name.split(':')[0]}={known}")
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
        parse(definition, Path(job["path"]).read_bytes())
        wrong = set_numbers(definition, job["values"])
        inputs, outputs = ends(definition, job["inputs"], job["outputs"])
        if wrong:
            raise Refused(f"it has no placeholder {wrong[0]!r} to be set", f"set one of "
                          f"{', '.join(n.split(':')[0] for n in inputs)}")
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
    fold_random(definition)
    for name in random_nodes(definition, outputs):
        raise Refused(f"node {name!r} draws random numbers", "export it for inference; a dropout "
                      "goes if its placeholder is set: --set keep_prob=1")
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


def parse(definition: Any, data: bytes) -> None:
    """The bytes of a .pb file."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    try:
        definition.ParseFromString(data)
        if definition.node:
            return
    except DecodeError:
        pass
    try:
        whole = SavedModel.FromString(data).meta_graphs
    except DecodeError:
        whole = []
    if whole:
        raise Refused("it is a SavedModel's graph without its variables",
                      "give the folder in which it was, and in which it is named saved_model.pb")
    raise Refused("it is no frozen GraphDef", "give the file of a graph whose variables have "
                  "become constants")


def frozen(job: dict[str, Any]) -> tuple[Any, list[str], list[str]]:
    """The GraphDef of a SavedModel's signature or of a Keras model, its variables constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2)

    if job["format"] == "KERAS":
        try:
            model = tf.keras.models.load_model(job["path"], compile=False)
        except (TypeError, ValueError) as e:
            raise unread(job["path"], str(e)) from e
        specs = [tf.TensorSpec(fixed(i.name, i.shape, job["shapes"]), i.dtype,
                               name=i.name.split(":")[0]) for i in model.inputs]
        function = tf.function(lambda *x: model(list(x) if len(x) > 1 else x[0], training=False),
                               input_signature=specs).get_concrete_function()
    else:
        model = tf.saved_model.load(job["path"])
        signatures = dict(model.signatures)
        if not signatures:
            raise Refused("the SavedModel has no signature", "export it with one, as model.export")
        wanted = job["signature"] or (next(iter(signatures)) if len(signatures) == 1
                                      else "serving_default")
        if wanted not in signatures:
            raise Refused(f"it has no signature {wanted!r}, but {', '.join(signatures)}",
                          f"choose one: --signature {next(iter(signatures))}")
        function = signatures[wanted]
    done = convert_variables_to_constants_v2(function)
    inputs = [t.name for t in done.inputs if t.dtype != tf.resource]
    return done.graph.as_graph_def(), inputs, [t.name for t in done.outputs]


def unread(path: str, text: str) -> Exception:
    """What to say of a Keras model that Keras does not read."""
    if "No model config" in text:
        return Refused("the file holds weights alone", "save the whole model: model.save(FILE)")
    named = re.search(r"(?:locate class|Unknown layer:) '([^']+)'", text)
    kind = "Lambda" if "`Lambda`" in text else named[1] if named else ""
    if not kind:
        return Refused(f"Keras does not read it ({text.splitlines()[0]})",
                       "save it again with this version of Keras")
    names = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            layers = json.loads(archive.read("config.json"))["config"].get("layers", [])
        names = [layer["config"].get("name", "") for layer in layers
                 if layer["class_name"].split(">")[-1] == kind.split(">")[-1]]
    return Refused(f"layer {', '.join(map(repr, names)) or 'of it'} is a {kind}, whose code is not "
                   "in the file", "export its graph where it was made, model.export(FOLDER), and "
                   "give that folder")


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
