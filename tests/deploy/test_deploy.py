# SPDX-License-Identifier: Apache-2.0
"""The files of containers and clusters ask for what there is: options, paths, API calls."""

import json
import re
import tomllib
from pathlib import Path

import boto3
import botocore.validate
import click
import pytest
import yaml

from deploy import sagemaker
from makalu.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]

DEPLOY = ROOT / "deploy"


def steps():
    """The instructions of the Dockerfile's last stage, and of all."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines()
             if line and not line.startswith("#")]
    last = max(k for k, (name, _) in enumerate(lines) if name == "FROM")
    return lines, lines[last:]


def parsed(arguments, **environment):
    """The options that ``makalu`` makes of a command line."""
    command = cli.commands[arguments[0]]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return command.make_context(arguments[0], list(arguments[1:])).params


def test_the_image_starts_the_service():
    _, last = steps()
    told = {name: text for name, text in last}
    environment = dict(part.split("=", 1) for part in told["ENV"].split())
    command = json.loads(told["ENTRYPOINT"])[1:] + json.loads(told["CMD"])
    serving = {k: v for k, v in environment.items() if k.startswith("MAKALU_SERVE")}
    how = parsed(command, **serving)
    assert str(how["folder"]) == "/models" and how["host"] == "0.0.0.0"
    assert {how["port"], how["grpc_port"]} == set(map(int, told["EXPOSE"].split()))
    with pytest.raises(click.MissingParameter, match="FOLDER|folder"):
        parsed(command)


def test_the_image_installs_what_there_is():
    text = (DEPLOY / "Dockerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.search(r"'\.\[(\w+)\]'", text)[1] in extras["optional-dependencies"]
    assert (ROOT / re.search(r"--constraint (\S+)", text)[1]).is_file()
    pinned = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert set(re.search(r"uninstall --yes (.*)", text)[1].split()) <= pinned


def test_kserve_starts_the_service():
    runtime, model = yaml.safe_load_all((DEPLOY / "kserve.yaml").read_text())
    container, = runtime["spec"]["containers"]
    how = parsed(container["args"])
    assert [p["containerPort"] for p in container["ports"]] == [how["port"]]
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("readiness", "liveness")} == {
        how["port"]}
    asked = model["spec"]["predictor"]["model"]
    assert asked["runtime"] == runtime["metadata"]["name"]
    assert asked["modelFormat"]["name"] in [
        f["name"] for f in runtime["spec"]["supportedModelFormats"]]


@pytest.mark.parametrize("models, folder", [("s3://bucket/digits.tar.gz", "/opt/ml/model"),
                                            ("s3://bucket/models/", "/opt/ml/models")])
def test_sagemaker_takes_the_calls(models, folder):
    """As the description of its API, which boto3 has, wants them."""
    client = boto3.client("sagemaker", region_name="eu-west-1", aws_access_key_id="none",
                          aws_secret_access_key="none")
    made = sagemaker.calls("net", "1.dkr.ecr.eu-west-1.amazonaws.com/makalu",
                           "arn:aws:iam::123456789012:role/makalu", models)
    for method, arguments in made:
        operation = client.meta.service_model.operation_model(
            client.meta.method_to_api_mapping[method])
        report = botocore.validate.ParamValidator().validate(arguments, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        assert arguments.keys() <= operation.input_shape.members.keys()
    container = made[0][1]["PrimaryContainer"]
    how = parsed(["serve"], **container["Environment"])
    assert str(how["folder"]) == folder and how["poll"] == 0
    assert container["Mode"] == ("MultiModel" if models.endswith("/") else "SingleModel")
