# SPDX-License-Identifier: Apache-2.0
"""The command line as its user sees it: another process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from examples.digits import FP32, INT8, TEST, held_out
from isa.program import Program

ROOT = Path(INT8).parent.parent
EDGES = "--host QuantizeLinear,DequantizeLinear"


def makalu(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "makalu", *map(str, arguments)], cwd=ROOT,
                          text=True, capture_output=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "digits.mkl"
    makalu("compile", INT8, "--host", "all", "-o", path)
    return path


@pytest.fixture
def images(tmp_path) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, held_out()[0][:3])
    return path


def test_help_shows_every_command_with_examples():
    text = makalu("--help").stdout
    for command in ("compile", "run", "report", "disassemble", "verilog", "bench", "zoo", "profile",
                    "bisect", "quote", "generate", "lease", "ls", "top", "monitor"):
        assert f"\n  {command} " in text
        assert "Example" in makalu(command, "--help").stdout


def test_compile_writes_the_same_program_twice(program, tmp_path):
    again = tmp_path / "again.mkl"
    text = makalu("compile", INT8, "--host", "QuantizeLinear,DequantizeLinear", "-o", again,
                  "--report").stdout
    assert again.read_bytes() == program.read_bytes()
    assert "block1_dw" in text and "array" in text and "2 of 49 nodes run on the host" in text


def test_compile_writes_to_the_current_folder(tmp_path):
    subprocess.run([sys.executable, "-m", "makalu", "compile", INT8, "--host", "all"], check=True,
                   cwd=tmp_path, capture_output=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert Program.load(tmp_path / "digits_int8.mkl").name == "digits_int8"
    assert not Path(INT8).with_suffix(".mkl").exists()


@pytest.mark.long  # builds core256
def test_the_example_faults_of_bisect_have_an_effect():
    lines = [line.split()[1:] for line in makalu("bisect", "--help").stdout.splitlines()
             if line.strip().startswith("makalu ") and "--inject" in line]
    assert len(lines) == 2
    for line in lines:
        assert makalu(*line, code=1).stdout


def test_examples_work_as_printed(tmp_path):
    """Those of ``makalu --help`` that compile or run the shipped network."""
    lines = [line.split()[1:] for line in makalu("--help").stdout.splitlines()
             if line.strip().startswith("makalu ") and "digits" in line]
    assert [line[0] for line in lines] == ["run", "compile", "run"]
    for line in lines[:2]:
        done = makalu(*(tmp_path / word if word == "digits.mkl" else word for word in line))
        assert done.stdout
    assert Program.load(tmp_path / "digits.mkl").host_pre


def test_a_price_of_dram_spares_bytes(tmp_path):
    net = tmp_path / "net.mkl"
    dear, free = (json.loads(makalu("compile", INT8, "--host", "all", "--config", "tiny",
                                    "--dram-price", price, "-o", net, "--json").stdout)
                  for price in ("4", "0"))
    assert dear["dram_bytes"] < free["dram_bytes"]
    text = " ".join(makalu("report", net).stdout.split())
    assert f"{free['spilled_bytes']:,} are spilled" in text
    for price in ("-1", "nan"):
        assert "price" in makalu("report", INT8, "--dram-price", price, code=1).stderr


def test_report_names_what_the_host_runs(program):
    placement = json.loads(makalu("report", program, "--json").stdout)["placement"]
    host = [p for p in placement if p["engine"] == "host"]
    assert {p["node"] for p in host} == {"image_QuantizeLinear", "logits_DequantizeLinear"}
    text = makalu("report", program).stdout
    for p in host:
        line, = (line for line in text.splitlines() if line.strip().startswith(f"{p['node']} ("))
        assert p["op"] in line and p["reason"] in line


def test_run_on_the_golden_model(program, images):
    out = json.loads(makalu("run", program, "--input", images, "--json", "--check", "--model",
                            INT8).stdout)
    logits = np.array(out["outputs"]["logits"])
    assert np.array_equal(logits.argmax(axis=1), held_out()[1][:3])
    assert out["device"] == "golden" and out["config"] == "core256" and out["cycles"] is None
    assert out["precision"] == "int8" and out["macs"] == Program.load(program).macs
    assert out["roofline_cycles"] > 0 and out["dram_bytes"] > 0 and out["wall_seconds"] > 0
    assert out["check"]["logits"]["same_top1"] == 3


def test_run_a_model_and_keep_the_outputs(images, tmp_path):
    kept = tmp_path / "out.npz"
    text = makalu("run", INT8, "--host", "all", "--config", "tiny", "--input", images,
                  "--output", kept).stdout
    assert "logits: float32 [3, 10]" in text and "golden model of tiny" in text
    assert np.load(kept)["logits"].shape == (3, 10)


def test_run_takes_what_it_knows_from_an_archive(program):
    text = makalu("run", program, "--input", TEST).stdout
    assert "logits: float32 [360, 10]" in text


def test_report_and_disassemble(program):
    data = json.loads(makalu("report", program, "--json").stdout)
    assert {p["engine"] for p in data["placement"]} == {"array", "window", "vector", "host", "none"}
    lines = makalu("disassemble", program).stdout.splitlines()
    count = Program.load(program).instruction_count
    assert sum(not line.startswith("#") for line in lines) == count
    assert lines[-1].split() == [str(count - 1), "END"]


def test_quantizes_an_fp32_model_with_calibration_data(tmp_path, images):
    data = tmp_path / "samples.npz"
    np.savez(data, image=held_out()[0][:32])
    net = tmp_path / "net.mkl"
    makalu("compile", FP32, "--host", "all", "--calibration", data, "-o", net)
    out = json.loads(makalu("run", net, "--input", images, "--json").stdout)
    assert np.array_equal(np.array(out["outputs"]["logits"]).argmax(axis=1), held_out()[1][:3])


@pytest.mark.parametrize("arguments,words", [
    (["compile", "nothing.onnx"], ["nothing.onnx", "there is no such file", "check the path"]),
    (["compile", INT8, "--config", "core512"], ["no configuration 'core512'", "core256"]),
    (["compile", INT8], ["image_QuantizeLinear", EDGES, "or --host all"]),
    (["compile", INT8, "--host", "none"], ["image_QuantizeLinear", EDGES]),
    (["compile", INT8, "--host", "QuantizeLinear"], ["logits_DequantizeLinear", EDGES]),
    (["report", INT8], ["image_QuantizeLinear", EDGES]),
    (["compile", FP32], ["it is an FP32 model", "--calibration FILE.npz"]),
    (["compile", INT8, "--calibration", "nothing.npz"], ["nothing.npz", "numpy.savez"]),
    (["run", "nothing.mkl", "--input", TEST], ["no file 'nothing.mkl'", "makalu compile"]),
    (["run", TEST, "--input", TEST], ["not a Makalu program", "makalu compile"]),
    (["run", INT8], ["--input"]),
    (["run", INT8, "--host", "all", "--input", "no.npy"], ["no input file 'no.npy'", "picture"]),
    (["run", INT8, "--host", "all", "--input", "Makefile"], ["no input of the kind", ".npy"]),
    (["run", INT8, "--input", TEST, "--device", "fpga"], ["fpga", "golden", "rtl"]),
    (["run", INT8, "--input", TEST, "--waves", "x.vcd"], ["--device rtl"]),
    (["verilog", "--config", "x.json"], ["x.json", "core256"]),
    (["bench", "--models", "nowhere"], ["nowhere", "MAKALU_MODELS"]),
    (["run", INT8, "--input", TEST, "--device", "rtl", "--waves", "x.txt"], ["x.txt", ".vcd or"]),
    (["bench", "nothing.onnx"], ["no file 'nothing.onnx'"]),
    (["compile", INT8, "--host", "all", "-o", "/no/where.mkl"], ["/no/where.mkl: no such file"]),
    (["walk"], ["No such command 'walk'"]),
    (["compile", INT8, "--host", "all", "--cores", "17"], ["--cores", "1<=x<=16"]),
    (["compile", "examples/topics.onnx", "--host", "all", "--context", "64", "--cores", "2"],
     ["--context is for one core"]),
    (["compile", "examples/topics.onnx", "--host", "all", "--context", "64", "--cores", "auto"],
     ["--context is for one core"]),
    (["compile", INT8, "--cores", "some"], ["--cores", "Or write auto"]),
    (["compile", INT8, "--cores", "2", "--max-cores", "4"], ["--max-cores", "add --cores auto"]),
    (["compile", INT8, "--host", "all", "--cores", "auto", "--objective", "fewest"],
     ["objective fewest", "add --latency-bound CYCLES"]),
])
def test_errors_are_a_sentence_with_a_cure(arguments, words):
    done = makalu(*arguments, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("makalu: ") and len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_folder_of_simulations_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    done = subprocess.run([sys.executable, "-m", "makalu", "verilog", "--config", "tiny"], cwd=ROOT,
                          text=True, capture_output=True,
                          env={**os.environ, "MAKALU_CACHE": str(tmp_path / "file")})
    assert done.returncode == 1 and "Errno" not in done.stderr
    assert "cannot be made" in done.stderr and "MAKALU_CACHE" in done.stderr


@pytest.mark.parametrize("command", [["verilog", "--config", "core256"],
                                     ["bench", INT8, "--config", "core256"]])
def test_an_interrupt_is_one_line(command, tmp_path):
    """While Verilog is generated, in the main thread and in another."""
    process = subprocess.Popen([sys.executable, "-m", "makalu", *command], cwd=ROOT, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env={**os.environ, "MAKALU_CACHE": str(tmp_path)},
                               # a test run in the background has it ignored
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stderr is not None
    assert "generating" in process.stderr.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=20)
    assert process.returncode == 130 and text.split() == ["makalu:", "interrupted"]


def test_check_of_a_program_needs_the_model(program, images):
    done = makalu("run", program, "--input", images, "--check", code=1)
    assert "--model MODEL" in done.stderr


def test_program_for_another_machine_is_refused(program, images):
    done = makalu("run", program, "--input", images, "--config", "core1024", code=1)
    assert "compiled for 'core256'" in done.stderr and "--config core1024" in done.stderr


def test_wrong_shape_says_what_is_expected(program, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 8, 8), np.float32))
    done = makalu("run", program, "--input", tmp_path / "x.npy", code=1)
    assert "image: float32 [1, 1, 16, 16]" in done.stderr and "[1, 1, 8, 8]" in done.stderr


def test_inputs_that_are_not_finite_are_told(program, tmp_path):
    np.save(tmp_path / "x.npy", np.full((1, 1, 16, 16), np.nan, np.float64))
    done = makalu("run", program, "--input", tmp_path / "x.npy")
    assert "warning: input 'image' has 256 NaN of 256 elements" in done.stderr
    assert "float64 is converted to float32" in done.stderr


def test_pictures_with_class_names(program, tmp_path):
    image, names = tmp_path / "seven.png", tmp_path / "names.txt"
    Image.fromarray((held_out()[0][0, 0] * 255).astype(np.uint8)).save(image)
    names.write_text("".join(f"digit {k}\n" for k in range(10)))
    how = ("--classes", names, "--crop", 0.9, "--mean", 0.1, "--layout", "nchw")
    text = makalu("run", program, "--input", image, *how).stdout
    first = text.splitlines()[1].split(",")
    assert len(first) == 5 and first[0].strip().startswith("digit ")
    best = json.loads(makalu("run", program, "--input", image, *how, "--json").stdout)["best"]
    assert best["logits"][0][0]["class"] == " ".join(first[0].split()[:2])


def test_a_network_that_the_host_runs_alone_is_told(tmp_path):
    """Its results agree, but not because of the machine."""
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8])
            for name in "xy")
    nodes = [onnx.helper.make_node("Sin", ["x"], ["a"], name="first"),
             onnx.helper.make_node("Cos", ["a"], ["y"], name="second")]
    model, data = tmp_path / "waves.onnx", tmp_path / "x.npy"
    onnx.save(onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "waves", [x], [y]), ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 20)]), model)
    np.save(data, np.zeros((1, 8), np.float32))
    how = ("--config", "tiny_fp", "--precision", "fp16", "--host", "all")
    done = makalu("run", model, *how, "--input", data, "--check")
    assert "warning: 0 MACs of waves are on tiny_fp: every node" in done.stderr
    done = makalu("report", model, *how, "--json")
    report = json.loads(done.stdout)
    assert "warning" in done.stderr and report["host_alone"] and report["host_nodes"] == 2
    assert not report["node_cycles"].keys() & {"first", "second"}
    assert "2 of 2 nodes run on the host" in makalu("report", model, *how).stdout
    assert makalu("report", INT8, "--host", "all").stderr == ""


def test_cores_run_a_network_together(tmp_path, images):
    """On the golden model and on the RTL of a chip, with the same outputs; not on a core alone."""
    path = str(tmp_path / "gang.mkl")
    done = makalu("compile", INT8, "--host", "all", "--config", "tiny", "--cores", "2", "-o", path)
    assert "2 cores together" in done.stdout
    alone, gang = (json.loads(makalu("run", net, "--host", "all", "--config", "tiny", "--input",
                                     images, "--json").stdout) if net == INT8 else
                   json.loads(makalu("run", net, "--input", images, "--json").stdout)
                   for net in (INT8, path))
    assert alone["outputs"] == gang["outputs"]
    chip = makalu("run", path, "--input", images, "--device", "chip2_tiny", "--json")
    assert json.loads(chip.stdout)["outputs"] == gang["outputs"]
    refused = makalu("run", path, "--input", images, "--device", "rtl", code=1)
    assert "takes 2 cores together, and this is a machine alone" in refused.stderr
    refused = makalu("run", path, "--input", images, "--device", "chip2_tiny", "--cores", "1",
                     code=1)
    assert "takes 2 cores together, and there are 1, of chip 'chip2_tiny'" in refused.stderr
