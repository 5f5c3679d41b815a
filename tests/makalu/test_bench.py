# SPDX-License-Identifier: Apache-2.0
"""The benchmark on the smallest machine's RTL, and the page that it writes."""

import json
from pathlib import Path

import pytest

from makalu.bench import (MODELS, SHIPPED, bench, labels, markdown, networks, networks_in,
                          write)


def test_networks_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(MODELS, raising=False)
    assert networks() == [SHIPPED]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.onnx").touch()
    (tmp_path / "b.txt").touch()
    assert networks(tmp_path) == [SHIPPED, tmp_path / "deep" / "a.onnx"]
    monkeypatch.setenv(MODELS, str(tmp_path))
    assert len(networks()) == 2
    with pytest.raises(FileNotFoundError, match="nowhere.*MAKALU_MODELS=FOLDER"):
        networks(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="no .onnx file"):
        networks(empty)
    monkeypatch.delenv(MODELS)
    with pytest.raises(FileNotFoundError, match="no folder of networks is named"):
        networks_in()


def test_labels_tell_networks_apart():
    paths = [Path("a/x.onnx"), Path("b/model.onnx"), Path("c/model.onnx")]
    assert list(labels(paths).values()) == ["x", "b/model", "c/model"]


def test_the_shipped_network_on_the_smallest_machine(tmp_path):
    said: list[str] = []
    result = bench([SHIPPED], ["tiny"], ("all",), said.append)
    (row,), (machine,) = result["networks"], result["machines"]
    assert row["golden"] and row["network"] == "digits_int8" and row["config"] == "tiny"
    assert row["cycles"] >= row["roofline_cycles"] > 0
    assert 0 < row["array_active_share"] <= 1
    assert row["roofline_share"] == round(row["roofline_cycles"] / row["cycles"], 4)
    assert machine["verilog_lines"] > 1000 and machine["cycles_per_second"] > 1000
    assert len(said) == 2
    page, data = write(result, tmp_path)
    assert json.loads(data.read_text()) == result
    assert f"| digits_int8 | tiny | {row['macs']:,} | {row['cycles']:,} |" in page.read_text()
    assert len(row["host"]) == 2
    assert "- digits_int8: image_QuantizeLinear (QuantizeLinear): " in page.read_text()


def test_page_names_what_did_not_run():
    text = markdown({"networks": [], "machines": [], "skipped": [
        {"network": "net", "config": "tiny", "reason": "node 'x': no"}]})
    assert "- net on tiny: node 'x': no" in text
