# SPDX-License-Identifier: Apache-2.0
"""What was compiled once is kept, as long as nothing that went into it changes."""

import asyncio
import json

import onnx
import pytest

from makalu.serve import loading
from makalu.serve.repository import Repository
from makalu.serve.requests import ServeError
from tests.makalu.serve.bench import network


@pytest.fixture
def compiles(tmp_path, monkeypatch):
    """A repository of one model, and what was compiled of it so far."""
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "models" / "net"
    (folder / "1").mkdir(parents=True)
    onnx.save(network(2), folder / "1" / "model.onnx")
    done, real = [], loading._compile

    async def counted(source, config, batch, out):
        done.append((config, batch))
        await real(source, config, batch, out)

    monkeypatch.setattr(loading, "_compile", counted)
    return folder, done


def programs(folder, config="tiny"):
    source = Repository(folder.parent).versions("net")[0]
    return [m.held.hash for m in asyncio.run(loading.programs(source, config))]


def test_a_program_is_compiled_once_until_something_changes(compiles):
    folder, done = compiles
    first = programs(folder)
    assert programs(folder) == first and done == [("tiny", 1)]
    onnx.save(network(3), folder / "1" / "model.onnx")
    assert programs(folder) != first and len(done) == 2
    programs(folder, "ecp5")
    assert len(done) == 3
    (folder / "makalu.json").write_text(json.dumps({"batches": [1, 2]}))
    assert len(programs(folder)) == 2 and done[3:] == [("tiny", 2)]
    (folder / "makalu.json").write_text(json.dumps({"options": {"nothing": "1"}}))
    with pytest.raises(ServeError, match="does not compile"):
        programs(folder)
