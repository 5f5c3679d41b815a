# SPDX-License-Identifier: Apache-2.0
"""Folders of models, good and bad."""

import json
import shutil

import pytest

from makalu.serve.repository import Repository, Settings
from makalu.serve.requests import ServeError


@pytest.fixture
def folder(tmp_path):
    for version in (1, 2, 10):
        (tmp_path / "net" / str(version)).mkdir(parents=True)
        (tmp_path / "net" / str(version) / "model.onnx").write_bytes(b"x")
    return tmp_path


def settings(folder, **values):
    (folder / "net" / "makalu.json").write_text(json.dumps(values))


@pytest.mark.parametrize("serve, versions", [("latest", [10]), ("all", [1, 2, 10]), ([2, 7], [2])])
def test_versions_are_numbers_and_the_settings_say_which_are_served(folder, serve, versions):
    (folder / "net" / "old").mkdir()
    settings(folder, serve=serve)
    assert [s.version for s in Repository(folder).versions("net")] == versions


def test_settings_are_read_and_files_are_relative_to_the_model(folder):
    assert Repository(folder).versions("net")[0].settings == Settings()
    settings(folder, batches=[1, 4], delay_ms=2, options={"calibration": "samples.npz"})
    found = Repository(folder).versions("net")[0].settings
    assert found == Settings((1, 4), 2, "latest", {
        "host": "all", "calibration": str((folder / "net" / "samples.npz").resolve())})


@pytest.mark.parametrize("values, words", [
    ({"batches": []}, "whole numbers"), ({"batches": [0]}, "whole numbers"),
    ({"batches": [True]}, "whole numbers"), ({"batches": 4}, "not iterable"),
    ({"delay_ms": -1}, "delay_ms"), ({"serve": "newest"}, "serve has to be"),
    ({"size": 4}, "no setting size"), ({"options": {"config": "tiny"}}, "but for config"),
    ([], "no attribute")])
def test_settings_that_are_none_are_refused_with_the_file(folder, values, words):
    (folder / "net" / "makalu.json").write_text(json.dumps(values))
    with pytest.raises(ServeError, match=f"net/makalu.json: .*{words}"):
        Repository(folder).versions("net")


def test_a_model_without_a_folder_of_its_version_is_version_1(folder):
    (folder / "net" / "model.onnx").write_bytes(b"")
    for number in ("1", "2", "10"):
        shutil.rmtree(folder / "net" / number)
    assert [(s.version, s.model.name) for s in Repository(folder).versions("net")] == [
        (1, "model.onnx")]


def test_a_folder_gets_another_name(folder, tmp_path_factory):
    repository = Repository(folder)
    with pytest.raises(ServeError, match="no folder of the repository"):
        repository.link("5e88", tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ServeError, match="no folder of the repository"):
        repository.link("5e88", folder / "net" / ".." / "..")
    repository.link("5e88", folder / "net")
    assert repository.names() == ["5e88", "net"]
    linked, own = repository.versions("5e88"), repository.versions("net")
    assert [s.model for s in linked] == [s.model for s in own] and linked[0].name == "5e88"
    repository.unlink("5e88")
    assert repository.names() == ["net"]


def test_a_stamp_changes_with_a_file(folder):
    before = Repository(folder).versions("net")[0].stamp
    (folder / "net" / "10" / "model.onnx").write_bytes(b"xy")
    assert Repository(folder).versions("net")[0].stamp != before


def test_what_is_missing_is_said(folder, tmp_path_factory):
    with pytest.raises(ServeError, match="there is no folder"):
        Repository(folder / "nowhere")
    with pytest.raises(ServeError, match="there is no model '../net'"):
        Repository(folder).versions("../net")
    (folder / "bare").mkdir()
    with pytest.raises(ServeError, match="has no version: put it into bare/1/model.onnx"):
        Repository(folder).versions("bare")
    (folder / "net" / "10" / "other.onnx").write_bytes(b"x")
    with pytest.raises(ServeError, match="net/10 has 2 models"):
        Repository(folder).versions("net")
