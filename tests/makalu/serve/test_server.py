# SPDX-License-Identifier: Apache-2.0
"""What keeps a server from starting is said in a sentence."""

import socket
import subprocess
import sys

import pytest


def serve(folder, *options):
    """Standard error and exit code of ``makalu serve``, which is to fail."""
    done = subprocess.run([sys.executable, "-m", "makalu", "serve", str(folder), "--port", "0",
                           "--grpc-port", "0", "--log", "error", *options], text=True,
                          capture_output=True, timeout=60)
    return done.stderr, done.returncode


@pytest.mark.parametrize("options, words", [
    (("--device", "uart:/dev/nowhere"), "device 'uart0' does not start"),
    (("--config", "nowhere"), "device 'golden0' does not start"),
    (("--tenants", "nowhere.json"), "nowhere.json"),
])
def test_a_device_that_does_not_open(tmp_path, options, words):
    said, code = serve(tmp_path, *options)
    assert code == 1 and said.startswith("makalu: ") and words in said
    assert "Traceback" not in said and said.count("\n") == 1


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_that_is_taken(tmp_path, option):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said, code = serve(tmp_path, option, port)
    assert code == 1 and said.endswith(     # behind a line of gRPC's own
        f"makalu: port {port} of 127.0.0.1 cannot be listened on: another program may have it, or "
        f"127.0.0.1 is not this computer's; choose another with {option} or --host\n")


def test_a_folder_that_is_not_there(tmp_path):
    said, code = serve(tmp_path / "models")
    assert code == 1 and said.startswith("makalu: there is no folder")
