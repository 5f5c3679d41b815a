# SPDX-License-Identifier: Apache-2.0
"""The benchmark on the smallest machine's RTL, and the page that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from makalu.bench import MODELS, SHIPPED, bench, labels, markdown, networks, random_inputs, write
from makalu.zoo import zoo
from runtime.session import Port


def test_networks_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(MODELS, raising=False)
    assert networks() == [SHIPPED]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.onnx").touch()
    (tmp_path / "b.txt").touch()
    assert networks(tmp_path) == [SHIPPED, tmp_path / "deep" / "a.onnx"]
    monkeypatch.setenv(MODELS, str(tmp_path))
    assert len(networks()) == 2
    with pytest.raises(FileNotFoundError, match="MAKALU_MODELS=FOLDER"):
        networks(tmp_path / "nowhere")


def test_labels_tell_networks_apart():
    paths = [Path("a/x.onnx"), Path("b/model.onnx"), Path("c/model.onnx")]
    assert list(labels(paths).values()) == ["x", "b/model", "c/model"]


def test_random_inputs():
    x = random_inputs([Port("f", np.dtype(np.float32), (50,)),
                       Port("i", np.dtype(np.int8), (500,))])
    assert x["f"].dtype == np.float32 and -1 <= x["f"].min() < 0 < x["f"].max() <= 1
    assert x["i"].dtype == np.int8 and x["i"].min() < -100 and x["i"].max() > 100


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


def test_page_names_what_did_not_run():
    text = markdown({"networks": [], "machines": [], "skipped": [
        {"network": "net", "config": "tiny", "reason": "node 'x': no"}]})
    assert "- net on tiny: node 'x': no" in text


def test_zoo_compares_with_onnx_runtime(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nonsense")
    good, bad = zoo([SHIPPED, broken], "core256", ("all",), 3, lambda text: None)
    agreement = good["agreement"]["logits"]
    assert not good["error"] and good["host_nodes"] == 2
    assert agreement.elements == 30 and agreement.largest <= agreement.step
    assert "broken.onnx" in bad["error"]
