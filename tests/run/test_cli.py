# SPDX-License-Identifier: GPL-3.0-or-later
"""What is typed wrong ends before anything is started, with a page that says what to type."""

from __future__ import annotations

import ast
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from otto_run import messages
from otto_run.store import Store
from tests.conftest import ROOT
from tests.run.conftest import OTTO_RUN, REPORT, Typed, free_port, now

GOOD = """
cluster: {name: home}
mqtt: {host: 127.0.0.4, port: %d}
nodes:
  - {id: rpi-01, host: 127.0.0.2, user: pi, port: 9}
  - {id: rpi-02, host: 127.0.0.3, user: pi, port: 9}
services:
  web: {image: "nginx:alpine", node: rpi-01, environment: {PLACE: "${PLACE:-attic}"}}
"""


@pytest.fixture
def cluster(typed: Typed) -> Typed:
    (typed.folder / "otto.yaml").write_text(GOOD % free_port())
    return typed


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["apply"], 2, ["no otto.yaml here", "`otto-run init` writes one"]),
        (["status", "-f", "other.yaml"], 2, ["no other.yaml here"]),
        (["aply"], 2, ["aply"]),
        (["apply", "--nope"], 2, ["--nope"]),
        (["plan", "--vault-password-file", "gone"], 2, ["gone", "is not there"]),
    ],
)
def test_wrong_usage(typed: Typed, arguments: list[str], code: int, says: list[str]) -> None:
    done = typed(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for words in says:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not typed.state.exists()


@pytest.mark.parametrize(
    "command", ["plan", "apply", "up", "status", "down", "doctor", "history", "rollback"]
)
def test_a_wrong_file_is_told_as_a_page_before_anything_starts(
    cluster: Typed, command: str
) -> None:
    file = cluster.folder / "otto.yaml"
    file.write_text(file.read_text().replace("image:", "imgae:"))
    done = cluster(command)
    assert done.returncode == 2
    assert "otto.yaml:8: services.web" in done.stderr
    assert "image" in done.stderr
    assert "Traceback" not in done.stderr
    assert not cluster.state.exists()


@pytest.mark.parametrize("command", ["plan", "apply", "down", "doctor", "rollback"])
def test_limit_names_the_nearest_node(cluster: Typed, command: str) -> None:
    done = cluster(command, "--limit", "rpi-01,rpi-2")
    assert done.returncode == 2
    assert "rpi-2 is no node of otto.yaml" in done.stderr
    assert "nearest   rpi-02" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rollback"], ["Nothing was ever applied from here"]),
        (["history", "--node", "rpi-2"], ["--node: rpi-2 is no node", "nearest   rpi-02"]),
        (["adopt", "rpi-2", "web"], ["adopt: rpi-2 is no node", "nearest   rpi-02"]),
        (["adopt", "rpi-01,rpi-02", "web"], ["adopt: one node at a time"]),
        (["history", "--node", "rpi-01,rpi-02"], ["--node: one node at a time"]),
        (["apply", "gone.json"], ["there is no saved plan", "otto-run plan --out gone.json"]),
        (["apply", "otto.yaml"], ["no plan that this otto-run has saved"]),
        (["apply", "plan.json", "--limit", "rpi-01"], ["done as a whole"]),
    ],
)
def test_a_way_back_that_is_none_is_told(
    cluster: Typed, arguments: list[str], says: list[str]
) -> None:
    done = cluster(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    for words in says:
        assert words in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["down", "--yes", "--volumes", "--limit", ""],
        ["apply", "--yes", "--limit", ","],
        ["plan", "--limit", ""],
        ["rollback", "--yes", "--limit", ""],
        ["prune", "--limit", ""],
        ["doctor", "--limit", ""],
        ["rotate", ""],
        ["push", "nginx:alpine", "--node", ""],
        ["adopt", "", "web"],
        ["history", "--node", ""],
        ["events", "--node", ""],
    ],
)
def test_a_node_without_a_name_is_not_every_node(cluster: Typed, arguments: list[str]) -> None:
    """What a script's unset variable leaves."""
    done = cluster(*arguments)
    assert done.returncode == 2, done.stderr
    assert "no node is named" in done.stderr
    assert "rpi-01, rpi-02" in done.stderr


def test_a_saved_plan_without_nodes_is_none(cluster: Typed) -> None:
    plan = {"otto": "plan", "format": 1, "cluster": "home", "made": 1, "nodes": {}}
    (cluster.folder / "plan.json").write_text(json.dumps(plan))
    done = cluster("apply", "plan.json")
    assert done.returncode == 2
    assert "no plan that this otto-run has saved" in done.stderr


def test_what_is_no_longer_in_the_file_is_not_removed_unasked(cluster: Typed) -> None:
    report = messages.report({"v": 1, **REPORT})
    (cluster.state / "home").mkdir(parents=True)
    with Store(cluster.state / "home" / "store.db") as store:
        store.report("rpi-02", report, now())
    done = cluster("apply", "--limit", "rpi-02")
    assert done.returncode == 2
    assert "- rpi-02: web" in done.stderr
    assert "next      otto-run apply --limit rpi-02 --yes" in done.stderr


def test_a_file_may_have_any_name(cluster: Typed) -> None:
    """Ansible, which is given it, takes it for what it is."""
    (cluster.folder / "otto.yaml").rename(cluster.folder / "prod.conf")
    done = cluster("plan", "--json", "-f", "prod.conf")
    failures = json.loads(done.stdout)["failures"]
    assert {each["message"] for each in failures} == {"cannot be reached"}


def test_history_before_anything_was_applied(cluster: Typed) -> None:
    assert cluster("history").stdout == "Nothing was applied from here yet.\n"


def test_down_without_a_terminal_wants_yes(cluster: Typed) -> None:
    done = cluster("down", "--volumes", "--limit", "rpi-01", "-f", "./otto.yaml")
    assert done.returncode == 2
    assert "THE DATA" in done.stderr
    assert "otto-run down --volumes --limit rpi-01 -f ./otto.yaml --yes" in done.stderr


def test_an_unreachable_node_is_told_with_cause_and_next_command(cluster: Typed) -> None:
    done = cluster("apply", "--json", "--limit", "rpi-02")
    assert done.returncode == 1, done.stderr
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["node"] == "rpi-02"
    assert failure["cause"] == "it is on, but nothing listens on its SSH port"
    assert "systemctl enable --now ssh" in failure["next"]


def test_doctor_says_the_fix(cluster: Typed) -> None:
    done = cluster("doctor", "--json", "--limit", "rpi-01")
    assert done.returncode == 1, done.stderr
    (node,) = json.loads(done.stdout)["nodes"]
    (check,) = node["checks"]
    assert (check["name"], check["state"]) == ("network", "fail")
    assert "systemctl enable --now ssh" in check["next"], "refused: it is on"


def test_doctor_on_this_machine(typed: Typed) -> None:
    """The broker is reachable though none runs: `up` would be it."""
    document = {
        "cluster": {"name": "home"},
        "mqtt": {"host": "127.0.0.1", "port": free_port()},
        "nodes": [{"id": "here", "host": "localhost", "docker_url": "unix:///none.sock"}],
    }
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
    done = typed("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["nodes"][0]["checks"]}
    assert checks["broker"]["state"] == "ok"
    assert checks["python"]["state"] == "ok"
    assert checks["docker"]["state"] == "fail"
    assert checks["docker"]["next"] == "sudo systemctl start docker"


def test_doctor_where_the_port_is_taken(typed: Typed) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        document = {
            "cluster": {"name": "home"},
            "mqtt": {"host": "127.0.0.1", "port": taken.getsockname()[1]},
            "nodes": [{"id": "here", "host": "localhost", "docker_url": "unix:///none.sock"}],
        }
        (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
        done = typed("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["nodes"][0]["checks"]}
    assert "cannot be the broker there" in checks["broker"]["text"]
    assert checks["broker"]["next"].startswith("ss -ltnp")


def test_status_where_the_broker_does_not_answer(typed: Typed) -> None:
    """The table all the same, and why it is no news."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.4", 0))
        mute.listen()
        (typed.folder / "otto.yaml").write_text(GOOD % mute.getsockname()[1])
        done = typed("status")
    assert done.returncode == 0, done.stderr
    assert "rpi-02" in done.stdout
    assert "This is what was known last" in done.stderr
    assert "handshake operation timed out" in done.stderr


def test_a_broker_that_did_not_come_up_hides_no_result(typed: Typed) -> None:
    text = (GOOD % 1).replace("{host: 127.0.0.4, port: 1}", "{node: rpi-01}")
    (typed.folder / "otto.yaml").write_text(text)
    done = typed("up", "--once", "--yes")
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    assert "nothing listens on its SSH port" in done.stdout
    assert "MQTT broker" in done.stderr


def test_nohup_is_heard(cluster: Typed) -> None:
    process = subprocess.Popen(
        [OTTO_RUN, "events", "--follow"],
        cwd=cluster.folder,
        env=cluster.env,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.stderr is not None
    assert "No control plane runs" in process.stderr.readline()
    status = Path(f"/proc/{process.pid}/status").read_text()
    (ignored,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")]
    assert int(ignored, 16) & 1 << signal.SIGHUP - 1
    process.terminate()
    process.wait(5)
    process.stderr.close()


def test_status_before_anything_was_applied(cluster: Typed) -> None:
    done = cluster("status", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [node["state"] for node in document["nodes"]] == ["unknown", "unknown"]
    assert document["nodes"][0]["services"]["web"]["ok"] is False
    plain = cluster("status")
    assert "\033" not in plain.stdout + plain.stderr
    assert "otto-run up" in plain.stderr


def test_a_broken_pipe_is_no_traceback(cluster: Typed) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{OTTO_RUN} schema | head -c 1"],
        cwd=cluster.folder,
        env=cluster.env,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


def test_a_fault_of_ours_is_one_line_and_a_log(cluster: Typed) -> None:
    (cluster.state / "home").mkdir(parents=True)
    (cluster.state / "home" / "store.db").mkdir()
    broken = cluster.folder / "broken.py"
    broken.write_text(
        "import otto_run.commands, otto_run.cli\n"
        "def status(*a, **k): raise RuntimeError('boom')\n"
        "otto_run.commands.status = status\n"
        "otto_run.cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(broken), "status"],
        cwd=cluster.folder,
        env=cluster.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Otto itself failed: RuntimeError: boom\n")
    assert "Traceback" not in done.stderr
    assert "Traceback" in (cluster.state / "otto-run.log").read_text()


@pytest.mark.parametrize(("program", "command"), [("otto-run", ["init"]), ("otto", ["cluster"])])
def test_init_writes_a_file_that_is_valid_and_never_overwrites(
    typed: Typed, program: str, command: list[str]
) -> None:
    words = [*command, "init"] if program == "otto" else command
    run = [str(Path(OTTO_RUN).with_name(program)), *words]

    def typed_so() -> subprocess.CompletedProcess[str]:
        return subprocess.run(run, cwd=typed.folder, env=typed.env, capture_output=True, text=True)

    assert typed_so().returncode == 0
    file = typed.folder / "otto.yaml"
    first = file.read_text()
    assert first.startswith("# yaml-language-server: $schema=.otto/schema.json\n")
    assert json.loads((typed.folder / ".otto" / "schema.json").read_text())["title"] == "otto.yaml"
    assert typed("status").returncode == 0
    again = typed_so()
    assert again.returncode == 2
    assert "there already" in again.stderr
    assert file.read_text() == first


def test_init_in_a_folder_that_is_not_there_yet(typed: Typed) -> None:
    """What it tells to type next reads the file that it wrote."""
    done = typed("init", "sub/")
    assert done.returncode == 0, done.stderr
    assert (typed.folder / "sub" / "otto.yaml").is_file()
    assert "otto-run doctor -f sub/otto.yaml" in done.stdout


def test_init_ansible_makes_plain_ansible_work(typed: Typed) -> None:
    """Beside an otto.yaml that is there, too: it stays as it is."""
    assert typed("init").returncode == 0
    assert typed("init", "--ansible").returncode == 0
    assert typed("init", "--ansible").returncode == 2
    tasks = subprocess.run(
        [str(Path(OTTO_RUN).with_name("ansible-playbook")), "site.yml", "--list-hosts"],
        cwd=typed.folder,
        env=typed.env,
        capture_output=True,
        text=True,
    )
    assert tasks.returncode == 0, tasks.stderr
    assert "rpi-01" in tasks.stdout


def test_a_vault_password_opens_the_file(cluster: Typed) -> None:
    password = cluster.folder / "password"
    password.write_text("sesame\n")
    file = cluster.folder / "otto.yaml"
    vault = str(Path(OTTO_RUN).with_name("ansible-vault"))
    subprocess.run(
        [vault, "encrypt", "--vault-password-file", str(password), str(file)],
        check=True,
        capture_output=True,
    )
    shut = cluster("status")
    assert shut.returncode == 2
    assert "--ask-vault-pass" in shut.stderr
    assert cluster("status", "--vault-password-file", "password").returncode == 0
    password.write_text("wrong\n")
    assert cluster("status", "--vault-password-file", "password").returncode == 2


def test_quick_commands_import_nothing_heavy() -> None:
    """`version` is typed by people and scripts: no Ansible, no MQTT, no table drawing."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "otto_run.cli", "version"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("otto-run ")
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"ansible", "ansible_runner", "paho", "amqtt", "rich", "sqlite3", "yaml"}


def test_control_plane_and_agent_are_strangers() -> None:
    for room, stranger in (("otto_run", "otto_agent"), ("otto_agent", "otto_run")):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not any(n.split(".")[0] == stranger for n in names), f"{file}: {names}"
