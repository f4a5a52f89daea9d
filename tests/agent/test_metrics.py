# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of /proc and /sys on trees of three machines: cgroup v1, cgroup v2, a Raspberry Pi."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otto_agent.metrics import Container, Reader

ID = "c0ffee" + "0" * 58
GIB = 1 << 30


class Machine:
    """A tree of files, a clock that is turned by hand, and disks of a known size."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        self.disks = {"/": (100 * GIB, 40 * GIB, 55 * GIB)}
        self.reader = Reader(root, clock=lambda: self.now, space=self._space)

    def _space(self, path: Path) -> tuple[int, int, int]:
        key = "/" + str(path.relative_to(self.root)).strip(".")
        if key not in self.disks:
            raise FileNotFoundError(key)
        return self.disks[key]

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def net(*lines: str) -> str:
    head = "Inter-|   Receive |  Transmit\n face |bytes    packets errs\n"
    return head + "".join(
        f"{name}: {rx} 1 0 0 0 0 0 0 {tx} 1 0 0 0 0 0 0\n"
        for name, rx, tx in (line.split() for line in lines)
    )


HOST = {
    "proc/stat": "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\n"
    "btime 1700000000\n",
    "proc/loadavg": "0.10 0.20 0.30 1/100 999\n",
    "proc/meminfo": "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 6000 kB\n"
    "SwapTotal: 100 kB\nSwapFree: 75 kB\nHugePages_Total: 0\n",
    "proc/uptime": "12345.67 20000.00\n",
    "proc/net/dev": net("lo 9 9", "eth0 1000 200", "docker0 5 5", "veth1 5 5", "wlan0 10 20"),
}

V1 = {
    **HOST,
    "proc/self/mountinfo": "1 0 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "2 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct\n"
    "3 1 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "4 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    "proc/cgroups": "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 2 1 1\n",
    "proc/42/cgroup": f"4:memory:/docker/{ID}\n3:cpu,cpuacct:/docker/{ID}\n0::/docker/{ID}\n",
    "proc/42/net/dev": net("lo 7 7", "eth0 300 40", "eth1 3 4"),
    f"sys/fs/cgroup/memory/docker/{ID}/memory.usage_in_bytes": "5000\n",
    f"sys/fs/cgroup/memory/docker/{ID}/memory.limit_in_bytes": "64000\n",
    f"sys/fs/cgroup/memory/docker/{ID}/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
    f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}/cpuacct.usage": "1000000000\n",
}

SLICE = f"system.slice/docker-{ID}.scope"
V2 = {
    **HOST,
    "proc/self/mountinfo": "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "proc/42/cgroup": f"0::/{SLICE}\n",
    "proc/42/net/dev": net("lo 7 7", "eth0 303 44"),
    f"sys/fs/cgroup/{SLICE}/memory.current": "5000\n",
    f"sys/fs/cgroup/{SLICE}/memory.max": "64000\n",
    f"sys/fs/cgroup/{SLICE}/memory.stat": "anon 1\ninactive_file 2000\n",
    f"sys/fs/cgroup/{SLICE}/cpu.stat": "usage_usec 1000000\nuser_usec 1\n",
}

# Raspberry Pi OS 12 as it comes: cgroup v2, and no memory controller.
PI = {key: text for key, text in V2.items() if not key.rsplit("/", 1)[-1].startswith("memory.")} | {
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/hwmon/hwmon0/name": "rp1_adc\n",
    "sys/class/hwmon/hwmon0/temp1_input": "51000\n",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def container(**changes: Any) -> Container:
    values = {
        "name": "web",
        "id": ID,
        "pid": 42,
        "state": "running",
        "health": None,
        "restarts": 3,
        "own_network": True,
    }
    return Container(**{**values, **changes})


def test_host(machine: Machine) -> None:
    """Everything but the rate at the first reading; the rate of all cores at the second."""
    machine.write(HOST)
    assert machine.reader.host() == {
        "cpu_count": 2,
        "load_1m": 0.1,
        "load_5m": 0.2,
        "load_15m": 0.3,
        "memory_total_bytes": 8000 * 1024,
        "memory_available_bytes": 6000 * 1024,
        "memory_bytes": 2000 * 1024,
        "swap_total_bytes": 100 * 1024,
        "swap_bytes": 25 * 1024,
        "disk_total_bytes": 100 * GIB,
        "disk_bytes": 40 * GIB,
        "disk_free_bytes": 55 * GIB,
        "network_received_bytes": 1010,
        "network_sent_bytes": 220,
        "uptime_seconds": 12345.67,
        "boot_time_seconds": 1700000000,
    }
    # 40 busy of 100 ticks; iowait is idle, and guest time (the 50) is in user already.
    machine.write({"proc/stat": "cpu  130 0 110 750 110 0 0 0 99 0\n"})
    assert machine.reader.host()["cpu_percent"] == 40.0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cpu  100 0 100 700 100 0 0 0", None),  # no tick went by
        ("cpu  200 0 100 700 100 0 0 0", 100.0),
        ("cpu  100 0 100 900 0 0 0 0", 0.0),  # iowait ran backwards
        ("cpu  1 0 1 7 1 0 0 0", None),  # counters began anew
        ("nonsense", None),
    ],
)
def test_host_cpu(machine: Machine, line: str, expected: float | None) -> None:
    machine.write(HOST)
    machine.reader.host()
    machine.write({"proc/stat": line + "\n"})
    assert machine.reader.host().get("cpu_percent") == expected


def test_what_cannot_be_read_is_absent(machine: Machine) -> None:
    """An empty tree gives the disk, which needs no file, and not one invented zero."""
    machine.disks = {}
    assert machine.reader.host() == {}
    assert machine.reader.containers([container()]) == {"web": {"state": "running", "restarts": 3}}


def test_docker_on_a_disk_of_its_own(machine: Machine) -> None:
    machine.write(HOST)
    machine.disks["/srv/docker"] = (9, 5, 4)
    host = machine.reader.host(Path("/srv/docker"))
    assert (host["docker_disk_total_bytes"], host["docker_disk_bytes"]) == (9, 5)
    assert (host["docker_disk_free_bytes"], host["disk_bytes"]) == (4, 40 * GIB)


@pytest.mark.parametrize(
    ("sensors", "expected"),
    [
        ({}, None),
        ({"thermal/thermal_zone0": ("cpu-thermal", "48312")}, 48.312),
        ({"hwmon/hwmon0": ("k10temp", "61000"), "hwmon/hwmon1": ("nvme", "30000")}, 61.0),
        ({"hwmon/hwmon0": ("nvme", "30000")}, None),  # a disk is not the host
        ({"thermal/thermal_zone0": ("acpitz", "27800"), "hwmon/hwmon0": ("coretemp", "50000")}, 50),
        ({"thermal/thermal_zone0": ("cpu-thermal", "0")}, None),  # switched off
        ({"thermal/thermal_zone0": ("cpu-thermal", "broken")}, None),
    ],
)
def test_temperature(
    machine: Machine, sensors: dict[str, tuple[str, str]], expected: float | None
) -> None:
    for path, (name, value) in sensors.items():
        files = ("type", "temp") if path.startswith("thermal") else ("name", "temp1_input")
        machine.write(
            {f"sys/class/{path}/{files[0]}": name + "\n", f"sys/class/{path}/{files[1]}": value}
        )
    assert machine.reader.host().get("temperature_celsius") == expected


@pytest.mark.parametrize(
    ("tree", "usage", "later"),
    [
        (V1, f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}/cpuacct.usage", "16000000000"),
        (V2, f"sys/fs/cgroup/{SLICE}/cpu.stat", "usage_usec 16000000\n"),
    ],
    ids=["v1", "v2"],
)
def test_container(machine: Machine, tree: dict[str, str], usage: str, later: str) -> None:
    """The same numbers by both versions; 15 s of work in 10 s are 150 %."""
    machine.write(tree)
    first = machine.reader.containers([container(health="healthy")])["web"]
    assert first == {
        "state": "running",
        "restarts": 3,
        "health": "healthy",
        "memory_bytes": 3000,
        "memory_limit_bytes": 64000,
        "network_received_bytes": 303,
        "network_sent_bytes": 44,
    }
    machine.now += 10
    machine.write({usage: later})
    assert machine.reader.containers([container()])["web"]["cpu_percent"] == 150.0


@pytest.mark.parametrize(
    ("tree", "file", "text"),
    [
        (V1, f"sys/fs/cgroup/memory/docker/{ID}/memory.limit_in_bytes", "9223372036854771712"),
        (V2, f"sys/fs/cgroup/{SLICE}/memory.max", "max\n"),
    ],
    ids=["v1", "v2"],
)
def test_no_limit(machine: Machine, tree: dict[str, str], file: str, text: str) -> None:
    machine.write({**tree, file: text})
    values = machine.reader.containers([container()])["web"]
    assert "memory_limit_bytes" not in values and values["memory_bytes"] == 3000


def test_raspberry_pi(machine: Machine) -> None:
    """Its kernel counts no memory of containers: absent, and it can be told why."""
    machine.write(PI)
    values = machine.reader.containers([container()])["web"]
    assert "memory_bytes" not in values and values["network_received_bytes"] == 303
    assert machine.reader.host()["temperature_celsius"] == 48.312
    assert machine.reader.memory_cgroup_missing()


@pytest.mark.parametrize(
    ("tree", "missing"),
    [
        (V1, False),
        (V2, False),
        ({**V1, "proc/cgroups": "#name\ncpu 1 1 1\nmemory 0 1 0\n"}, True),  # switched off
        ({}, False),  # not known
    ],
)
def test_memory_controller(machine: Machine, tree: dict[str, str], missing: bool) -> None:
    machine.write(tree)
    assert machine.reader.memory_cgroup_missing() is missing


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"pid": 0, "state": "exited"}, ("memory_bytes", "network_sent_bytes")),
        ({"pid": 43}, ("memory_bytes", "network_sent_bytes")),  # it ended a moment ago
        ({"id": "f" * 64}, ("memory_bytes", "network_sent_bytes")),  # the pid is another's now
        ({"own_network": False}, ("network_received_bytes", "network_sent_bytes")),
    ],
)
def test_numbers_of_another_are_not_taken(
    machine: Machine, changes: dict[str, Any], absent: tuple[str, ...]
) -> None:
    machine.write(V2)
    values = machine.reader.containers([container(**changes)])["web"]
    assert not set(absent) & set(values)


def test_a_replaced_container_has_no_rate_at_first(machine: Machine) -> None:
    """The rate is that of one container, not the difference of two."""
    machine.write(V2)
    machine.reader.containers([container()])
    machine.now += 10
    machine.reader.containers([])
    assert "cpu_percent" not in machine.reader.containers([container()])["web"]


@pytest.mark.parametrize(
    ("mode", "own"), [("bridge", True), ("host", False), ("container:abc", False), ("none", True)]
)
def test_from_inspect(mode: str, own: bool) -> None:
    document = {
        "Id": ID,
        "Name": "/web",
        "RestartCount": 2,
        "State": {"Pid": 7, "Status": "running", "Health": {"Status": "starting"}},
        "HostConfig": {"NetworkMode": mode},
    }
    assert Container.from_inspect(document) == Container(
        "web", ID, 7, "running", "starting", 2, own
    )
