# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of every kind, and a search for them everywhere that they have no business to be."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from otto_run.broker import EmbeddedBroker
from otto_run.broker_doors import Shared
from tests.conftest import LabHost, wait_for
from tests.e2e.conftest import BIN, Folder
from tests.run.conftest import free_port

pytestmark = [pytest.mark.lab, pytest.mark.slow]

BROKER = "10.77.0.1"
REGISTRY = f"{BROKER}:5000"
NODES = ("rpi-01", "rpi-02")
KINDS = (
    *("environment", "secret", "config", "registry", "mqtt", "late", "url", "dsn", "label"),
    *("adhoc", "hand", "compose"),
)
VALUE = {kind: f"otto-{kind}-{secrets.token_hex(10)}" for kind in KINDS}
SHORT = f"~{secrets.token_hex(1)}^z"
"""Too short to be looked for in a text: hidden under its own name."""
OPEN = {
    "DATABASE_URL": f"postgres://app:{VALUE['url']}@db.invalid/app",
    "SENTRY_DSN": VALUE["dsn"],
    "ADMIN_PW": SHORT,
}
"""What people write without thinking of it as a secret: known by name, and by how it is written."""
LABEL = {"app.cache": f"redis://:{VALUE['label']}@cache.invalid"}


class Watch(threading.Thread):
    """Reads every command line of this machine, over and over; the lab's hosts are part of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.03):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:  # ended meanwhile
                    continue
                self.seen.add(line.decode("utf-8", "replace"))

    def stop(self) -> None:
        self._over.set()
        self.join()


@dataclass
class Story:
    folder: Folder
    hosts: dict[str, LabHost]
    temp: Path
    watch: Watch
    said: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)

    def typed(self, *command: str, code: int = 0) -> str:
        done = self.folder.run(*command)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def asked(self, *command: str) -> None:
        """What it says, however it ends."""
        done = self.folder.run(*command)
        self.said.append(done.stdout + done.stderr)

    def encrypted(self, text: str) -> str:
        done = subprocess.run(
            [str(BIN / "ansible-vault"), "encrypt", "--vault-password-file", "password"],
            cwd=self.folder.path,
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def write(self, **keys: object) -> None:
        """otto.yaml with every secret in it under !vault, in its own way of storing."""
        self.folder.document["services"]["safe"].update(keys)
        text = yaml.dump(self.folder.document, Dumper=_Dumper, sort_keys=False)
        self.folder.file.write_text(text)


class _Vaulted(str):
    pass


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Vaulted,
    lambda dumper, value: dumper.represent_scalar("!vault", str(value), style="|"),
)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[Story]:
    """Everything that a person does with a cluster, done; what came of it is searched below."""
    folder = Folder(tmp_path_factory.mktemp("secrets"), "safe")
    temp = folder.path / "temp"
    temp.mkdir()
    folder.env |= {
        "TMPDIR": str(temp),
        "ANSIBLE_LOCAL_TEMP": str(temp / "ansible"),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(folder.path / "password"),
    }
    (folder.path / "password").write_text(secrets.token_hex(8))
    port = free_port()
    broker = EmbeddedBroker(BROKER, port, Shared("otto", VALUE["mqtt"]))
    broker.start()
    watch = Watch()
    made = Story(folder, {name: lab_hosts[name] for name in NODES}, temp, watch)
    ears = paho.Client(CallbackAPIVersion.VERSION2)
    ears.username_pw_set("otto", VALUE["mqtt"])
    ears.on_message = lambda _client, _data, message: made.payloads.append(message.payload)
    ears.connect(BROKER, port)
    ears.subscribe("otto/#", qos=1)
    ears.loop_start()
    watch.start()
    try:
        _live(made, port)
        yield made
    finally:
        watch.stop()
        ears.disconnect()
        ears.loop_stop()
        folder.run("otto-run", "down", "--yes", "--volumes")
        broker.stop()


def _live(story: Story, port: int) -> None:
    folder = story.folder
    vaulted = {kind: _Vaulted(story.encrypted(value)) for kind, value in VALUE.items()}
    (folder.path / "secret.txt").write_text(story.encrypted(VALUE["secret"]))
    folder.document |= {
        "mqtt": {
            "host": BROKER,
            "port": port,
            "tls": "off",
            "username": "otto",
            "password": vaulted["mqtt"],
        },
        "registries": {REGISTRY: {"username": "ann", "password": vaulted["registry"]}},
        "secrets": {"key": {"file": "secret.txt"}},
        "configs": {"conf": {"content": vaulted["config"]}},
        "nodes": [node for node in folder.document["nodes"] if node["id"] in NODES],
        "services": {
            "safe": {
                "image": f"{REGISTRY}/library/nginx:alpine",
                "pull_policy": "always",
                "node": "all",
                "environment": {"HIDDEN": vaulted["environment"], "MODE": "one", **OPEN},
                "labels": LABEL,
                "secrets": ["key"],
                "configs": [{"source": "conf", "target": "/etc/safe.conf"}],
            }
        },
    }
    story.write()
    story.typed("otto-run", "apply", "--yes")
    host = story.hosts["rpi-01"]
    inside = "cat /run/secrets/key /etc/safe.conf; printenv HIDDEN"
    got = host.run(f"docker exec safe sh -c {shlex.quote(inside)}")
    assert all(VALUE[kind] in got for kind in ("secret", "config", "environment")), "all arrived"

    more = {name: f"{value}2" for name, value in OPEN.items()}
    story.write(environment={"HIDDEN": vaulted["late"], "MODE": "two", **more}, labels={})
    story.typed("otto-run", "plan")
    story.typed("otto-run", "plan", "--json")
    story.typed("otto-run", "init", "--ansible")
    story.typed("ansible-playbook", "site.yml", "--check", "--diff", "-vvv")
    story.typed("otto-run", "plan", "--out", "plan.json")
    story.typed("otto-run", "apply", "plan.json", "-vvv")
    # It tells its own secrets, and that is quoted as the cause.
    tells = (
        'echo "$HIDDEN $(printf %s "ann:$HIDDEN" | base64 -w0) $(printf %s "$HIDDEN" | base64)";'
        "cat /run/secrets/key /etc/safe.conf; echo; echo cannot reach $DATABASE_URL;"
        'printf %s "$SENTRY_DSN" | base64 -w0; exit 3'
    )
    story.write(command=["sh", "-c", tells.replace("$", "$$")])
    story.typed("otto-run", "apply", "--yes", "-v", code=1)
    assert "cannot reach postgres://app:(hidden)@db.invalid/app" in story.said[-1]
    # They leave the file again.
    story.write(command=["nginx", "-g", "daemon off;"], environment={"HIDDEN": vaulted["late"]})
    story.typed("ansible-playbook", "site.yml", "--diff", "-vvv")
    # The whole file vaulted: nothing of it is known to be harmless.
    folder.file.write_text(story.encrypted(folder.file.read_text()))
    story.typed("otto-run", "plan", "-v")
    _ad_hoc(story)
    _by_hand(story)
    _imported(story)
    for command in ("status", "history", "audit", "events", "doctor"):
        story.asked("otto-run", command)
        story.asked("otto-run", command, "--json")
    for command in ("status", "history"):
        story.typed("otto-run", command)
        story.typed("otto-run", command, "--json")
    wait_for(lambda: len(story.payloads) > 4, seconds=30, what="what the agents say")


def _ad_hoc(story: Story) -> None:
    """The module in a playbook of one's own: a container that is made, and one that tells all."""
    name, crash = "safe-adhoc", 'echo "$API_KEY"; echo cannot reach $CACHE; exit 3'
    for command in (["sleep", "600"], ["sh", "-c", crash]):
        task = {
            "name": name,
            "image": f"{REGISTRY}/library/nginx:alpine",
            "command": command,
            "environment": {
                "API_KEY": _Vaulted(story.encrypted(VALUE["adhoc"])),
                "CACHE": _Vaulted(story.encrypted(f"redis://:{VALUE['adhoc']}@cache.invalid")),
                "PLAIN": "1",
            },
        }
        play = {
            "hosts": "rpi-01",
            "gather_facts": False,
            "tasks": [{"otto.cluster.container": task}],
        }
        (story.folder.path / "adhoc.yml").write_text(yaml.dump([play], Dumper=_Dumper))
        made = command[0] == "sleep"
        typed = ("ansible-playbook", "adhoc.yml", "--diff", "-vvv")
        story.typed(*typed, code=0 if made else 2)
        assert '"PLAIN": "1"' in story.said[-1], "-vvv shows what is no secret"
    assert "cannot reach redis://:(hidden)@cache.invalid" in story.said[-1]
    story.hosts["rpi-01"].run("docker ps -aqf name=safe-adhoc | xargs -r docker rm -f")


def _by_hand(story: Story) -> None:
    """A container that somebody started: what is printed for otto.yaml, and what is not in it."""
    lines = f"DB_PASSWORD={VALUE['hand']}\nDATABASE_URL=mysql://u:{VALUE['hand']}@db.invalid/x\n"
    labels = f"app.url=redis://:{VALUE['hand']}@cache.invalid\n"
    # Not as words, and not in base64: command lines are searched for both.
    from_hex = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))"
    files = "; ".join(
        f"echo {text.encode().hex()} | python3 -c {shlex.quote(from_hex)} > /dev/shm/{name}"
        for name, text in (("hand.env", lines), ("hand.labels", labels))
    )
    story.hosts["rpi-01"].run(
        f"{files}; docker run -d --name safe-hand --env-file /dev/shm/hand.env --label-file"
        f" /dev/shm/hand.labels {REGISTRY}/library/nginx:alpine; rm /dev/shm/hand.*"
    )
    story.typed("otto-run", "adopt", "rpi-01", "safe-hand", "-vvv")
    assert "mysql://u:${DATABASE_URL_SECRET}@db.invalid/x" in story.said[-1]
    assert "redis://:${APP_URL_SECRET}@cache.invalid" in story.said[-1]
    story.hosts["rpi-01"].run("docker rm -f safe-hand")


def _imported(story: Story) -> None:
    compose = story.folder.path.parent / "elsewhere.yaml"
    secret = VALUE["compose"]
    service = {"image": "x", "command": ["run", "--token", secret], "environment": {"PW": secret}}
    compose.write_text(yaml.safe_dump({"services": {"db": service}}))
    story.typed("otto-run", "import", str(compose))
    assert "PW: ${PW}" in story.said[-1]


def found_in(text: str) -> list[str]:
    """The kinds that a text holds, in clear or in base64."""
    return [kind for kind in KINDS if any(form in text for form in FORMS[kind])]


def _forms(value: str) -> tuple[str, ...]:
    """The value, and base64 of it wherever it may begin in what was encoded."""
    encoded = [base64.b64encode(b"x" * skip + value.encode()).decode() for skip in range(3)]
    return (value, *(text[4 * bool(skip) : -4] for skip, text in enumerate(encoded)))


FORMS = {kind: _forms(value) for kind, value in VALUE.items()}


def test_the_search_finds_what_is_there(story: Story) -> None:
    """A sampler that sees nothing would prove nothing."""
    mark = f"otto-mark-{secrets.token_hex(8)}"
    on_node = f"otto-mark-{secrets.token_hex(8)}"
    subprocess.run(["sh", "-c", f": {mark}; sleep 0.5"], check=True)
    story.hosts["rpi-02"].run(f": {on_node}; sleep 0.5")
    seen = "\n".join(story.watch.seen)
    assert mark in seen and on_node in seen
    assert any("ansible-playbook" in line for line in story.watch.seen)


def test_no_command_line(story: Story) -> None:
    assert [line for line in tuple(story.watch.seen) if found_in(line)] == []


def test_nothing_that_was_said(story: Story) -> None:
    assert [(found_in(text), text) for text in story.said if found_in(text)] == []
    assert [text for text in story.said if SHORT in text] == []
    assert "(hidden)" in "".join(story.said), "secrets did change, and this was told"
    assert [each for each in story.payloads if found_in(each.decode())] == []


def test_nothing_on_the_control_machine(story: Story) -> None:
    """Store, saved plan, artifacts, temporary files: but for what the person wrote there."""
    places = [story.folder.path, Path("~/.ansible/tmp").expanduser()]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert story.folder.path / "plan.json" in files
    assert any(path.name == "store.db" for path in files)
    assert [path for path in files if found_in(path.read_bytes().decode("latin-1"))] == []
    left = [path for path in story.temp.rglob("*") if path.is_file()]
    assert left == [], "temporary files are gone"


def test_on_a_node_only_in_files_that_are_shut(story: Story) -> None:
    """The target and what the containers mount have to have them; nobody but the agent reads it."""
    places = "/var/lib/otto /etc/otto /opt/otto /home /root /tmp /var/tmp /var/log /run/log"
    for name, host in story.hosts.items():
        files = host.run(f"{among(*KINDS)} grep -rlaF -f $p {places}; true").split()
        assert any("target.json" in path for path in files), "the search finds something"
        for path in files:
            mode, owner = host.run(f"stat -c '%a %U' {path}").split()
            shut = host.run(f"stat -c %a {Path(path).parent}").endswith("0")
            allowed = path.startswith(("/var/lib/otto/", "/etc/otto/agent.json"))
            assert allowed and owner in ("otto", "root"), f"{name}: {path}"
            assert mode == "600" or shut, f"{name}: {path} {mode}"
        assert host.run(f"{among('registry')} grep -rlaF -f $p {places}; true") == ""
        assert host.run(f"{among(*KINDS)} journalctl --no-pager | grep -aF -f $p; true") == ""


def among(*kinds: str) -> str:
    """Shell that puts secrets into the file $p. Not as words: sudo logs every word that it runs."""
    text = base64.b64encode("\n".join(VALUE[kind] for kind in kinds).encode()).decode()
    return f"p=/dev/shm/patterns; echo {text} | base64 -d > $p;"


def test_inspect_shows_the_environment_and_nothing_else(story: Story) -> None:
    """A container's environment is its configuration: the one place where the engine shows it."""
    for host in story.hosts.values():
        ids = host.run("docker ps -aq").split()
        shown = json.loads(host.run("docker inspect " + " ".join(ids)))
        assert any(found_in(json.dumps(each["Config"].pop("Env"))) for each in shown)
        assert found_in(json.dumps(shown)) == []
