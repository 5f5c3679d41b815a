# SPDX-License-Identifier: Apache-2.0
"""A dropout that was frozen with its placeholder, with TensorFlow where that is installed."""

import pytest

tf = pytest.importorskip("tensorflow")

from compiler.source.imports.tensorflow_graph import (  # noqa: E402
    fold_random, random_nodes, set_numbers)


def graph(compared: bool):  # type: ignore[no-untyped-def]
    """``dropout(x)``, as TensorFlow 1 wrote it, or later with a comparison."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as g:
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        keep = v1.placeholder(tf.float32, name="keep_prob")
        drawn = tf.random.uniform(tf.shape(x), name="drawn")
        if compared:
            mask = tf.cast(drawn >= 1 - keep, tf.float32)
        else:
            mask = tf.floor(keep + drawn)
        tf.multiply(x / keep, mask, name="y")
    return g.as_graph_def()


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("keep,left", [(1.0, False), (0.75, True)])
def test_dropout(keep: float, left: bool, compared: bool) -> None:
    definition = graph(compared)
    assert set_numbers(definition, {"keep_prob": keep}) == []
    fold_random(definition)
    assert bool(random_nodes(definition, ["y:0"])) == left
    if left:
        return
    with tf.Graph().as_default() as g:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=g) as session:
            assert session.run("y:0", {"x:0": [[1, 2, 3, 4]]}).tolist() == [[1, 2, 3, 4]]


def test_what_is_no_placeholder() -> None:
    assert set_numbers(graph(False), {"y": 1.0, "keep_prob": 1.0}) == ["y"]
