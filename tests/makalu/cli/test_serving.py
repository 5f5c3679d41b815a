# SPDX-License-Identifier: Apache-2.0
"""``makalu lease``, ``ls``, ``top`` and ``monitor`` against a server that runs."""

import contextlib
import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading

import pytest

from makalu.cli.rates import with_rates
from makalu.cli.state_table import line, uses
from tests.makalu.cli.test_cli import ROOT
from tests.makalu.serve.live import infer, models, serving, until

ROOT_TOKEN, TOKEN = "root's", "vision's"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def live(folder, tmp_path_factory):
    """Two devices, and two tenants with tokens."""
    tenants = tmp_path_factory.mktemp("tenants") / "tenants.json"
    tenants.write_text(json.dumps({"tenants": [
        {"name": name, "token_sha256": hashlib.sha256(token.encode()).hexdigest(), **more}
        for name, token, more in (("root", ROOT_TOKEN, {"admin": True, "shares": 4, "leases": 2}),
                                  ("vision", TOKEN, {"shares": 4, "leases": 3}))]}))
    with serving(folder, "--tenants", tenants, "--device", "golden", "--device", "golden",
                 "--cores", 2) as live:
        yield live


def makalu(live, *arguments, token=TOKEN, code=0):
    """What the command prints on standard output, or, if it is to fail, on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "makalu", *map(str, arguments)], cwd=ROOT, text=True,
        capture_output=True, timeout=60,
        env={**os.environ, "MAKALU_SERVER": live.url if live else "http://127.0.0.1:9",
             "MAKALU_TOKEN": token})
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def test_a_lease_is_attached_resized_moved_and_detached(live):
    made = json.loads(makalu(live, "lease", "attach", "--share", 2, "--rate", "7.5", "--json"))
    assert (made["tenant"], made["share"], made["rate"]) == ("vision", 2, 7.5)
    id = made["id"]
    text = makalu(live, "lease", "resize", id, "--share", "2.5", "--rate", "none", "--queue", 9)
    assert id in text and "2.5" in text and "0 of 9" in text
    other = {"golden0": "golden1", "golden1": "golden0"}[made["device"]]
    assert json.loads(makalu(live, "lease", "move", id, other, "--json")) == {
        **made, "share": 2.5, "rate": None, "queue": 9, "device": other}
    assert id in makalu(live, "lease", "ls")
    with live.client(TOKEN) as client:
        assert infer(client, parameters={"lease": id}).status_code == 200
    assert "is detached" in makalu(live, "lease", "detach", id)
    assert id not in [x["id"] for x in json.loads(makalu(live, "lease", "ls", "--json"))["leases"]]
    assert [x["event"] for x in live.lines if x.get("lease") == id] == [
        "attach", "change", "change", "request", "detach"]


@pytest.mark.parametrize("arguments, words", [
    (("lease", "detach", "vision-99"), "there is no lease 'vision-99': makalu ls shows yours"),
    (("lease", "attach", "--share", 50), "may have shares of 4 together"),
    (("lease", "attach", "--share", "-1"), "cannot have share -1: it has to be a positive number"),
    (("lease", "attach", "--cores", "1.5"), "cannot have cores 1.5: it has to be a whole number"),
    (("lease", "attach", "--share", "much"), "'much' is neither a number nor none"),
    (("lease", "attach", "--device", "rtl7"), "there is no device 'rtl7': one of golden0, golden1"),
    (("lease", "move", "vision-2", "gpu"), "there is no device 'gpu'"),
    (("lease", "resize", "vision-2"), "say what is to change: --share, --cores"),
])
def test_what_the_server_refuses_is_its_sentence(live, arguments, words):
    said = makalu(live, *arguments, code=1)
    assert said.startswith("makalu: ") and words in said and said.count("\n") == 1


@pytest.mark.parametrize("token, words", [("", "this server wants a token"),
                                          ("wrong", "nobody has this token")])
def test_a_token_that_is_refused(live, token, words):
    said = makalu(live, "ls", token=token, code=1)
    assert words in said and "--token, or MAKALU_TOKEN" in said


def test_no_server():
    for command in (("ls",), ("top", "--once"), ("monitor",), ("lease", "ls")):
        said = makalu(None, *command, code=1)
        assert "no server answers at http://127.0.0.1:9 (" in said and "makalu serve" in said
    assert "no address of a server" in makalu(None, "ls", "--server", "here:8080", code=1)


def test_something_else_answers():
    """A web server of another kind, and one that speaks no HTTP."""
    for reply, words in ((b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "no server of Makalu"),
                         (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "no server answers"),
                         (b"hello", "no server answers")):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            def answer(listening=listening, reply=reply):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(reply)

            thread = threading.Thread(target=answer)
            thread.start()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            assert words in makalu(None, "ls", "--server", url, code=1)
            thread.join()


def test_ls_shows_what_a_tenant_may_see(live):
    mine, all_ = (json.loads(makalu(live, "ls", "--json", token=t)) for t in (TOKEN, ROOT_TOKEN))
    assert {x["tenant"] for x in mine["leases"]} == {"vision"}
    assert {x["tenant"] for x in all_["leases"]} == {"vision", "root"}
    text = makalu(live, "ls")
    for word in ("golden0", "golden1", "ready", "vision", "double", "triple", "tiny", "batch: µs"):
        assert word in text
    for device in mine["devices"]:
        assert len(device["cores"]) == 2
        assert all(str(core["pid"]) in text for core in device["cores"])


@contextlib.contextmanager
def load(live):
    """Requests, one after the other, until the end; gives the list of their replies."""
    stop, replies = threading.Event(), []

    def ask():
        with live.client(TOKEN) as client:
            while not stop.is_set():
                replies.append(infer(client).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield replies
    finally:
        stop.set()
        thread.join()


def test_monitor_gives_rates_that_are_true(live):
    with load(live) as replies:
        until(lambda: len(replies) > 3)
        before = len(replies)
        states = [json.loads(s) for s in makalu(
            live, "monitor", "--interval", 0.5, "--count", 3).splitlines()]
        after = len(replies)
    assert len(states) == 3
    seconds = states[2]["time"] - states[0]["time"]
    for kind, key in (("leases", "id"), ("models", "name")):
        one = [next(e for e in s[kind] if e[key] in ("vision-2", "double")) for s in states]
        answered = one[2]["answered"] - one[0]["answered"]
        assert 0 < answered <= after - before
        rates = [e["answered_per_second"] for e in one[1:]]
        assert sum(rates) / 2 == pytest.approx(answered / seconds, rel=0.2)
        assert all(e["cycles_per_second"] > 0 for e in one)
    assert any(d["executions_per_second"] > 0 and 0 < d["busy"] <= 1 for d in states[1]["devices"])


def test_rates():
    def state(time, answered, **more):
        return {"time": time, "devices": [], "models": [],
                "leases": [{"id": "a", "answered": answered, **more}]}

    (a,) = with_rates(state(0, 10), state(2, 16))["leases"]
    assert a["answered_per_second"] == 3
    (a,) = with_rates(state(0, 10), state(2, 4))["leases"]
    assert a["answered_per_second"] == 2    # begun anew
    (a,) = with_rates({**state(0, 0), "leases": []}, state(2, 4))["leases"]
    assert a["answered_per_second"] == 2
    (a,) = with_rates(state(1, 0), state(1, 4))["leases"]
    assert a["answered_per_second"] == 0
    assert line([0, 0.5, 1.0]) == "▁▅█"


def test_monitor_outlives_its_server_and_ends_with_its_reader(folder):
    environment = {**os.environ, "MAKALU_TOKEN": ""}
    with serving(folder) as live, subprocess.Popen(
            [sys.executable, "-m", "makalu", "monitor", "--interval", "0.2", "--server", live.url],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment) as process:
        assert "devices" in json.loads(process.stdout.readline())
        live.process.send_signal(signal.SIGTERM)
        live.process.wait(30)
        until(lambda: "no server answers" in json.loads(process.stdout.readline()).get("error", ""))
        process.stdout.close()
        assert process.wait(10) == 0 and process.stderr.read() == ""


def test_cores_of_leases_are_shown(live):
    """Whose each core is, to its owner, and to another tenant."""
    made = json.loads(makalu(live, "lease", "attach", "--device", "golden1", "--cores", 1, "--json",
                             token=ROOT_TOKEN))
    assert made["uses"] == [1]
    try:
        with live.client(ROOT_TOKEN) as client:
            for _ in range(3):
                assert infer(client, parameters={"lease": made["id"]}).status_code == 200

        def cores(token):
            rows = [line.split("  ") for line in makalu(live, "ls", token=token).splitlines()
                    if line.startswith("golden1") and "localhost" in line]
            return [[cell.strip() for cell in row if cell.strip()] for row in rows]

        assert [row[2] for row in cores(ROOT_TOKEN)] == ["shared", made["id"]]
        assert [row[2] for row in cores(TOKEN)] == ["shared", "another tenant's"]
        assert cores(ROOT_TOKEN)[1][4] == "3"     # jobs
        said = makalu(live, "lease", "attach", "--device", "golden1", "--cores", 2, code=1)
        assert "'golden1' has 1 of 2 cores free: take up to 1" in said
    finally:
        makalu(live, "lease", "detach", made["id"], token=ROOT_TOKEN)


def test_a_chip_and_its_cores(folder):
    """Two leases with a core each on one simulated chip, as a user sees them."""
    with serving(folder, "--device", "chip2_tiny") as live:
        ids = ["default-1", json.loads(makalu(live, "lease", "attach", "--cores", 1, "--json",
                                              token=""))["id"]]
        assert "0 of 2 cores free" not in makalu(live, "lease", "resize", ids[0], "--cores", 1,
                                                 token="")
        said = makalu(live, "lease", "attach", token="", code=1)
        assert "device 'chip2_tiny-0' has 0 of 2 cores free: detach a lease" in said
        with live.client() as client:
            for id, model, times in zip(ids, ("double", "triple"), (2, 3)):
                reply = infer(client, model, rows=4, parameters={"lease": id}).json()
                assert set(reply["outputs"][0]["data"]) == {times}
        text = makalu(live, "top", "--once", "--interval", 0.2, token="")
        rows = [line.split() for line in text.splitlines()
                if line.startswith("chip2_tiny-0") and "localhost" in line]
        assert [(row[1], row[2], row[5]) for row in rows] == [
            ("0", ids[0], "1"), ("1", ids[1], "1")]
        assert rows[0][8] == rows[1][8]     # one process


def test_cores_as_ranges():
    assert uses({"cores": 0, "uses": [0, 1, 2, 5]}) == "0–2, 5 shared"
    assert uses({"cores": 2, "uses": [3, 4]}) == "3–4"


def test_top_once(live):
    with load(live) as replies:
        until(lambda: replies)
        text = makalu(live, "top", "--once", "--interval", 0.5)
    row = next(x for x in text.splitlines() if x.startswith("double"))
    assert "ready" in row and "cycles/s" in text and "/s" in text
    assert "use --once" in makalu(live, "top", code=1)


def test_top_on_a_terminal_until_ctrl_c(live):
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "makalu", "top", "--interval", "0.3", "--server", live.url,
         "--token", TOKEN], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "50"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    os.close(theirs)
    seen = b""
    try:
        with load(live):
            while seen.count(b"models") < 4:     # it draws again and again
                seen += os.read(mine, 65536)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):      # the terminal ends with the process
                while True:
                    seen += os.read(mine, 65536)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    text = seen.decode()
    assert "golden0" in text and "vision-2" in text and "▁" in text and "Traceback" not in text
