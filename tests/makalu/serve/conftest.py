# SPDX-License-Identifier: Apache-2.0
"""Folders of models that are compiled once."""

import json

import onnx
import pytest

import makalu
from tests.makalu.serve.bench import network


@pytest.fixture(scope="session")
def programs():
    """Files of each network by its scale: one for each batch."""
    return {scale: [makalu.compile(network(scale), "tiny", batch=batch).to_bytes()
                    for batch in (1, 4)] for scale in (2, 3)}


@pytest.fixture
def folder(tmp_path, programs):
    for name, scale in (("double", 2), ("triple", 3)):
        (tmp_path / name / "1").mkdir(parents=True)
        for k, data in enumerate(programs[scale]):
            (tmp_path / name / "1" / f"{k}.mkl").write_bytes(data)
    return tmp_path


@pytest.fixture
def models(tmp_path):
    """A folder of models to compile, for two batches."""
    for name, scale in (("double", 2), ("triple", 3)):
        (tmp_path / name / "1").mkdir(parents=True)
        onnx.save(network(scale), tmp_path / name / "1" / "model.onnx")
        (tmp_path / name / "makalu.json").write_text(json.dumps({"batches": [1, 4]}))
    return tmp_path
