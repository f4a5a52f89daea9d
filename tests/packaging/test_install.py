# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's installation on a real host: once, again, a broken one, and away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import LAB_HOSTS, LAB_STATE, LabHost

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.lab, pytest.mark.slow]
NODE = "rpi-03"
PASSWORD = "never-shown-4711"
FILE = f"""\
plugin: otto.cluster.otto
cluster: {{name: packtest, known_hosts: {LAB_STATE}/known_hosts}}
mqtt: {{host: 10.77.0.1, port: 18831, username: u, password: {PASSWORD}}}
nodes:
  - {{id: {NODE}, host: {LAB_HOSTS[NODE]}, user: pi, identity_file: {LAB_STATE}/id_ed25519}}
services:
  - {{name: web, node: {NODE}, image: 'nginx:alpine', network_mode: none}}
"""
NOTHING_TO_DO = {"ok": "1", "changed": "0", "failed": "0", "skipped": "0"}
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def playbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playbook]:
    """Runs one of the collection's playbooks; `agent=` is a folder with another otto_agent."""
    folder = tmp_path_factory.mktemp("install")
    (folder / "otto.yaml").write_text(FILE)
    (folder / "other.otto.yaml").write_text(FILE.replace("name: packtest", "name: other"))
    # A copy: who edits the tree during the test makes another bundle.
    site, skip = folder / "site", shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "otto_agent", site / "otto_agent", ignore=skip)
    shutil.copytree(
        ROOT / "otto_collection", site / "ansible_collections" / "otto" / "cluster", ignore=skip
    )

    def run(
        name: str, *options: str, agent: Path | None = None, file: str = "otto.yaml"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", file, f"otto.cluster.{name}", *options),
            ],
            cwd=folder,
            env={
                **os.environ,
                "OTTO_STATE": str(folder / "state"),
                "PYTHONPATH": f"{agent}:{site}" if agent else str(site),
                "ANSIBLE_COLLECTIONS_PATH": str(site),
                "ANSIBLE_PIPELINING": "true",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    yield run
    run("down", "-e", "otto_volumes=true")


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What Ansible counted for the node."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{NODE} ")]
    counts = dict(word.split("=") for word in line.split(":")[1].split())
    return {key: counts[key] for key in ("ok", "changed", "failed", "skipped")}


@pytest.fixture
def host(lab_hosts: dict[str, LabHost]) -> LabHost:
    return lab_hosts[NODE]


@pytest.fixture
def installed_host(playbook: Playbook, host: LabHost) -> None:
    """The host with its agent, whichever tests ran before."""
    if host.run("systemctl is-active otto-agent", check=False) != "active":
        assert playbook("site").returncode == 0


def test_a_node_gets_its_agent_and_then_nothing(playbook: Playbook, host: LabHost) -> None:
    first = playbook("site")
    assert first.returncode == 0, first.stdout
    assert host.run("systemctl is-active otto-agent") == "active"
    assert host.run("stat -c '%a %U' /etc/otto/agent.json /var/lib/otto").split("\n") == [
        "600 otto",
        "750 otto",
    ]
    pid = host.run("systemctl show otto-agent -p MainPID --value")
    again = playbook("site")
    # One call, and no process even for what is skipped.
    assert recap(again) == NOTHING_TO_DO, again.stdout
    assert host.run("systemctl show otto-agent -p MainPID --value") == pid


def test_the_core_is_not_sent_to_a_node_that_has_it(playbook: Playbook, host: LabHost) -> None:
    """It is run from the agent's bundle; a node whose bundle is another one gets the module."""
    done = playbook("site", "-vvv")
    assert "module_utils.target_main" in done.stdout
    assert "modules/target.py" not in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    version = host.run("readlink /opt/otto/current")
    host.run("ln -sfn elsewhere /opt/otto/current")
    done = playbook("site", "-vvv")
    assert done.returncode == 0, done.stdout
    assert "modules/target.py" in done.stdout
    assert host.run("readlink /opt/otto/current") == version


@pytest.mark.usefixtures("installed_host")
def test_what_was_altered_in_a_bundle_is_not_run_and_brought_anew(
    playbook: Playbook, host: LabHost
) -> None:
    """The agent's user cannot write there; what root or a bad disk did is mended by one apply."""
    core = "/opt/otto/current/ansible_collections/otto/cluster/plugins/module_utils"
    writes = f"echo x >> {core}/model.py || touch /opt/otto/x || rm -f /opt/otto/current"
    assert host.run(f'runuser -u otto -- sh -c "{writes}" || echo refused') == "refused"
    marker = "/tmp/otto-bundle-ran"
    host.run(
        f'echo "open({marker!r}, {"w"!r})" >> {core}/target_main.py;'
        f"chown otto {core}/model.py; rm -f {marker}"
    )
    done = playbook("site", "-v")
    assert done.returncode == 0, done.stdout
    assert "brought anew" in done.stdout
    assert host.run(f"ls {marker}", check=False) == ""
    assert host.run("find /opt/otto ! -user root -o -perm /022 ! -type l") == ""
    assert recap(playbook("site")) == NOTHING_TO_DO


def test_a_file_in_the_users_home_is_no_module_of_ours(playbook: Playbook, host: LabHost) -> None:
    """Python would take it for its own; and it would run as root."""
    host.run("echo 'raise SystemExit(7)' | tee ~pi/random.py ~pi/json.py > /home/pi/socket.py")
    try:
        assert recap(playbook("site")) == NOTHING_TO_DO
    finally:
        host.run("rm ~pi/random.py ~pi/json.py ~pi/socket.py")


def test_an_installation_that_was_cut_off_is_gone_on_with(
    playbook: Playbook, host: LabHost
) -> None:
    """The files are new; what runs may be the former agent still."""
    pid = host.run("systemctl show otto-agent -p MainPID --value")
    host.run("echo '{}' > /etc/otto/former.json")
    assert recap(playbook("site"))["changed"] == "1"
    assert host.run("systemctl show otto-agent -p MainPID --value") != pid
    assert host.run("ls /etc/otto") == "agent.json"
    assert recap(playbook("site"))["changed"] == "0"


@pytest.mark.usefixtures("installed_host")
def test_the_unit_is_shut_tight(host: LabHost) -> None:
    """`systemd-analyze security` gives it 2.0 at the most (0 is best, 10 worst)."""
    last = host.run("systemd-analyze security --no-pager otto-agent.service").splitlines()[-1]
    print(last)
    assert float(last.split(":")[1].split()[0]) <= 2.0, last


@pytest.mark.parametrize("name", ["site", "plan", "down"])
def test_another_cluster_gets_no_hold_of_the_node(
    playbook: Playbook, host: LabHost, name: str
) -> None:
    """Apply, plan and down of another cluster say whose the host is, and touch nothing."""
    pid = host.run("systemctl show otto-agent -p MainPID --value")
    done = playbook(name, file="other.otto.yaml")
    assert done.returncode == 2, done.stdout
    assert "belongs to the cluster packtest" in done.stdout + done.stderr
    assert host.run("systemctl show otto-agent -p MainPID --value") == pid


BROKEN = {
    "ends": ("__main__.py", "    sys.exit(main())", "    sys.exit('no agent today')"),
    "ends when it is ready": (
        "__main__.py",
        "        self._ready = ready\n",
        "        if ready:\n            os._exit(3)\n",
    ),
    "hangs before its first look": (
        "look.py",
        "        observed = super()",
        "        __import__('time').sleep(3600)\n        observed = super()",
    ),
    "cannot look": (
        "look.py",
        "        observed = super()",
        "        raise RuntimeError('blind')\n        observed = super()",
    ),
}
SAID = {
    "ends": "no agent today",
    "ends when it is ready": "",
    "hangs before its first look": "timeout",
    "cannot look": "blind",
}


def broken(folder: Path, name: str, good: str, bad: str) -> Path:
    """A folder with an otto_agent of which one file is another one."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "otto_agent", folder / "otto_agent", ignore=skip)
    path = folder / "otto_agent" / name
    text = path.read_text()
    assert text.count(good) == 1
    path.write_text(text.replace(good, bad))
    return folder


def installed(host: LabHost) -> list[str]:
    """What an agent that is put back has as it was, and the container that it looks after."""
    return host.run(
        "readlink /opt/otto/current; cat /etc/otto/agent.json"
        " /etc/systemd/system/otto-agent.service | sha256sum; systemctl is-active otto-agent;"
        " docker inspect web --format '{{.Id}} {{.State.StartedAt}} {{.State.Status}}'"
    ).splitlines()


@pytest.mark.usefixtures("installed_host")
@pytest.mark.parametrize(
    "kind",
    [
        "ends",
        *(pytest.param(kind, marks=pytest.mark.fault) for kind in BROKEN if kind != "ends"),
    ],
)
def test_a_broken_agent_is_taken_back(
    playbook: Playbook, host: LabHost, tmp_path: Path, kind: str
) -> None:
    """It loads but cannot do its work: the former version, configuration and unit are back and
    run, its cause is told, and no container is touched."""
    before = installed(host)
    bad = broken(tmp_path, *BROKEN[kind])
    # Another limit is another unit, too.
    done = playbook("site", "-vvv", "--diff", "-e", "agent_timeout=8", agent=bad)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "did not come up" in said and SAID[kind] in said, said[-3500:]
    assert f"Agent {before[0]} is put back and runs; no container was touched" in said
    assert PASSWORD not in said
    assert installed(host) == before
    assert host.run("ls /etc/otto") == "agent.json"


@pytest.mark.usefixtures("installed_host")
def test_a_bundle_that_does_not_load_is_not_switched_to(
    playbook: Playbook, host: LabHost, tmp_path: Path
) -> None:
    """What cannot even be imported on the node is found before anything is touched."""
    before = installed(host)
    pid = host.run("systemctl show otto-agent -p MainPID --value")
    good = "from otto_agent import __version__"
    bad = broken(tmp_path, "__main__.py", good, "import nothing_of_that_name\n" + good)
    done = playbook("site", agent=bad)
    assert done.returncode == 2
    assert "nothing_of_that_name" in done.stdout + done.stderr
    assert installed(host) == before
    assert host.run("systemctl show otto-agent -p MainPID --value") == pid


@pytest.mark.fault
@pytest.mark.usefixtures("installed_host")
def test_a_switch_that_was_cut_off_still_leads_back(
    playbook: Playbook, host: LabHost, tmp_path: Path
) -> None:
    """The power goes after the switch to an agent that cannot work; the next apply brings another
    one that cannot: what comes back is the one that could."""
    before = installed(host)
    version, other = before[0], f"{before[0]}-cut"
    former = (
        "import json,pathlib as p; json.dump(dict(version=sys.argv[1],active='active',"
        "config=p.Path('/etc/otto/agent.json').read_text(),"
        "unit=p.Path('/etc/systemd/system/otto-agent.service').read_text()),"
        "open('/etc/otto/former.json','w'))"
    )
    host.run(
        f'python3 -c "import sys; {former}" {version} && systemctl stop otto-agent'
        f" && cp -a /opt/otto/{version} /opt/otto/{other} && ln -sfn {other} /opt/otto/current"
        f" && rm -r /opt/otto/{other}/otto_agent && (systemctl start otto-agent || true)"
    )
    done = playbook("site", "-e", "agent_timeout=8", agent=broken(tmp_path, *BROKEN["ends"]))
    assert done.returncode == 2
    assert f"Agent {version} is put back and runs" in done.stdout + done.stderr
    assert installed(host) == before


def test_down_leaves_docker_and_nothing_of_otto(playbook: Playbook, host: LabHost) -> None:
    assert playbook("down").returncode == 0
    left = host.run(
        "ls -d /opt/otto /etc/otto /var/lib/otto /etc/systemd/system/otto-agent.service; id otto",
        check=False,
    )
    assert left == ""
    assert host.run("systemctl is-active docker") == "active"
    assert recap(playbook("down"))["changed"] == "0"
