# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of /proc and /sys on trees of three machines: cgroup v1, cgroup v2, a Raspberry Pi."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otto_agent import metrics_table
from otto_agent.metrics import Container, Reader
from otto_agent.metrics_board import Board
from otto_agent.metrics_clock import Clock, kernel_clock
from otto_agent.metrics_disks import Space, space_of
from otto_agent.metrics_files import Tree

ID = "c0ffee" + "0" * 58
GIB = 1 << 30


class Machine:
    """A tree of files, a clock that is turned by hand, and disks of a known size."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        self.disks = {"/": Space(100 * GIB, 40 * GIB, 55 * GIB, 1000, 400)}
        self.clock: Clock | None = None
        self.reader = Reader(root, lambda: self.now, self._space, lambda: self.clock)

    def _space(self, path: Path) -> Space:
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
    "4 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "5 1 0:5 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "6 1 0:6 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n",
    "proc/cgroups": "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 2 1 1\n",
    "proc/42/cgroup": f"4:memory:/docker/{ID}\n3:cpu,cpuacct:/docker/{ID}\n"
    f"5:pids:/docker/{ID}\n6:blkio:/docker/{ID}\n0::/docker/{ID}\n",
    "proc/42/net/dev": net("lo 7 7", "eth0 300 40", "eth1 3 4"),
    f"sys/fs/cgroup/memory/docker/{ID}/memory.usage_in_bytes": "5000\n",
    f"sys/fs/cgroup/memory/docker/{ID}/memory.limit_in_bytes": "64000\n",
    f"sys/fs/cgroup/memory/docker/{ID}/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
    f"sys/fs/cgroup/memory/docker/{ID}/memory.oom_control": "oom_kill_disable 0\noom_kill 4\n",
    f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}/cpuacct.usage": "1000000000\n",
    f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}/cpu.stat": "nr_periods 9\nnr_throttled 3\n"
    "throttled_time 2500000000\n",
    f"sys/fs/cgroup/pids/docker/{ID}/pids.current": "6\n",
    f"sys/fs/cgroup/pids/docker/{ID}/pids.max": "100\n",
    f"sys/fs/cgroup/blkio/docker/{ID}/blkio.throttle.io_service_bytes": "8:0 Read 4096\n"
    "8:0 Write 100\n8:0 Total 4196\n179:0 Read 4\n179:0 Write 0\nTotal 4200\n",
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
    f"sys/fs/cgroup/{SLICE}/memory.events": "low 0\noom 4\noom_kill 4\noom_group_kill 0\n",
    f"sys/fs/cgroup/{SLICE}/cpu.stat": "usage_usec 1000000\nuser_usec 1\nnr_periods 9\n"
    "nr_throttled 3\nthrottled_usec 2500000\n",
    f"sys/fs/cgroup/{SLICE}/pids.current": "6\n",
    f"sys/fs/cgroup/{SLICE}/pids.max": "100\n",
    f"sys/fs/cgroup/{SLICE}/io.stat": "8:0 rbytes=4096 wbytes=100 rios=1 wios=1 dbytes=0 dios=0\n"
    "179:0 rbytes=4 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n",
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
        "disk_inodes_total": 1000,
        "disk_inodes_free": 400,
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
    """A disk is told of once: the agent's state lies on Docker's. It makes inodes as it goes."""
    docker = Space(9, 5, 4, device=7)
    machine.disks |= {"/srv/docker": docker, "/srv/docker/otto": docker, "/var/lib/otto": docker}
    host = machine.reader.host(Path("/srv/docker"), Path("/srv/docker/otto"))
    assert {name: value for name, value in host.items() if "docker" in name or "state" in name} == {
        "docker_disk_total_bytes": 9,
        "docker_disk_bytes": 5,
        "docker_disk_free_bytes": 4,
    }
    machine.disks["/"] = replace(machine.disks["/"], device=7)
    assert "docker_disk_bytes" not in machine.reader.host(Path("/srv/docker"))


def test_this_machine_has_room(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    assert 0 < space.free <= space.total and space.used > 0 and space.device


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        # The flag before the dash is this namespace's own: a unit of systemd sees all read-only.
        (["/ ro,nosuid - ext4 /dev/root rw"], 0),
        (["/ rw - ext4 /dev/root ro,errors=remount-ro"], 1),
        (["/ rw - ext4 /dev/root rw", "/var rw - tmpfs tmpfs ro"], 0),  # another disk
        (["/ rw - ext4 /dev/root ro", "/ rw - ext4 /dev/sda rw"], 0),  # the later one lies on top
        ([], None),
    ],
)
def test_read_only(machine: Machine, mounts: list[str], expected: int | None) -> None:
    lines = [f"1 0 0:1 / {line}\n" for line in mounts]
    machine.write({"proc/self/mountinfo": "".join(lines)})
    assert machine.reader.host().get("disk_read_only") == expected


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
        "cpu_throttled_seconds": 2.5,
        "oom_kills": 4,
        "pids": 6,
        "pids_limit": 100,
        "disk_read_bytes": 4100,
        "disk_written_bytes": 100,
    }
    machine.now += 10
    machine.write({usage: later})
    assert machine.reader.containers([container()])["web"]["cpu_percent"] == 150.0


@pytest.mark.parametrize(
    ("tree", "files"),
    [
        (
            V1,
            {
                f"memory/docker/{ID}/memory.limit_in_bytes": "9223372036854771712\n",
                f"cpu,cpuacct/docker/{ID}/cpu.stat": "nr_periods 0\nthrottled_time 0\n",
                f"pids/docker/{ID}/pids.max": "max\n",
            },
        ),
        (
            V2,
            {
                f"{SLICE}/memory.max": "max\n",
                f"{SLICE}/cpu.stat": "usage_usec 1\nnr_periods 0\nthrottled_usec 0\n",
                f"{SLICE}/pids.max": "max\n",
            },
        ),
    ],
    ids=["v1", "v2"],
)
def test_no_limit(machine: Machine, tree: dict[str, str], files: dict[str, str]) -> None:
    """Where there is no limit, there is neither a number for it nor for what it held back."""
    machine.write({**tree, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
    values = machine.reader.containers([container()])["web"]
    assert not {"memory_limit_bytes", "pids_limit", "cpu_throttled_seconds"} & set(values)
    assert (values["memory_bytes"], values["pids"]) == (3000, 6)


def test_raspberry_pi(machine: Machine) -> None:
    """Its kernel counts no memory of containers: absent, and it can be told why."""
    machine.write(PI)
    values = machine.reader.containers([container()])["web"]
    assert "memory_bytes" not in values and values["network_received_bytes"] == 303
    assert machine.reader.host()["temperature_celsius"] == 48.312
    assert machine.reader.memory_cgroup_missing()


FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
FLAGS = ("undervoltage", "frequency_capped", "throttled", "temperature_limited")


@pytest.mark.parametrize(
    ("files", "now", "occurred"),
    [
        ({FIRMWARE: "0\n"}, (0, 0, 0, 0), (0, 0, 0, 0)),
        ({FIRMWARE: "50005\n"}, (1, 0, 1, 0), (1, 0, 1, 0)),
        ({FIRMWARE: "a0008\n"}, (0, 0, 0, 1), (0, 1, 0, 1)),
        ({FIRMWARE.replace("soc/soc:", "soc@107c000000/x:"): "2\n"}, (0, 1, 0, 0), (0, 0, 0, 0)),
        ({FIRMWARE: "broken\n"}, (None,) * 4, (None,) * 4),
        # A newer kernel watches over the supply itself, and that is all it says.
        (
            {"sys/class/hwmon/hwmon1/name": "rpi_volt\n"}
            | {"sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"},
            (1, None, None, None),
            (None,) * 4,
        ),
        ({}, (None,) * 4, (None,) * 4),
    ],
)
def test_power_of_a_raspberry_pi(
    machine: Machine,
    files: dict[str, str],
    now: tuple[int | None, ...],
    occurred: tuple[int | None, ...],
) -> None:
    machine.write(files)
    host = machine.reader.host()
    assert tuple(host.get(name) for name in FLAGS) == now
    assert tuple(host.get(name + "_occurred") for name in FLAGS) == occurred


@pytest.mark.parametrize(
    ("cards", "used", "pre_eol"),
    [
        ({}, None, None),
        ({"mmcblk0": {}}, None, None),  # an SD card says nothing
        ({"mmcblk0": {"life_time": "0x01 0x03", "pre_eol_info": "0x01"}}, 30, 1),
        ({"mmcblk0": {"life_time": "0x00 0x00", "pre_eol_info": "0x00"}}, None, None),  # undefined
        ({"mmcblk0": {"life_time": "0x0b 0x01"}, "mmcblk1": {"pre_eol_info": "0x03"}}, 110, 3),
        ({"mmcblk0": {"life_time": "worn", "pre_eol_info": ""}}, None, None),
    ],
)
def test_wear(
    machine: Machine, cards: dict[str, dict[str, str]], used: int | None, pre_eol: int | None
) -> None:
    for card, files in cards.items():
        for name, text in files.items():
            machine.write({f"sys/class/block/{card}/device/{name}": text + "\n"})
    host = machine.reader.host()
    assert (host.get("emmc_life_used_percent"), host.get("emmc_pre_eol")) == (used, pre_eol)


@pytest.mark.parametrize(
    ("running", "there", "expected"),
    [
        ("6.1.0-9-amd64", ["6.1.0-9-amd64"], 0),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], 1),
        ("6.1.0-10-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], 0),
        # Raspberry Pi OS has a kernel for each kind of board.
        ("6.6.20+rpt-rpi-v8", ["6.6.20+rpt-rpi-v8", "6.6.31+rpt-rpi-2712"], 0),
        ("6.6.20+rpt-rpi-v8", ["6.6.20+rpt-rpi-v8", "6.6.31+rpt-rpi-v8"], 1),
        ("6.1.0-9-amd64", [], None),  # a container: the kernel is another machine's
    ],
)
def test_reboot_required(
    tmp_path: Path, running: str, there: list[str], expected: int | None
) -> None:
    for name in there:
        (tmp_path / "lib/modules" / name).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    board = Board(Tree(tmp_path), running)
    reboot = board.parts()[-1]
    assert reboot().get("reboot_required") == expected
    (tmp_path / "run/reboot-required").touch()
    assert reboot() == {"reboot_required": 1}


def test_clock(machine: Machine) -> None:
    """What is not known of a clock that nobody sets, and of one that must not be asked."""
    machine.clock = Clock(True, -0.002, 0.25)
    host = machine.reader.host()
    assert (host["clock_synchronised"], host["clock_offset_seconds"]) == (1, -0.002)
    assert host["clock_max_error_seconds"] == 0.25
    machine.clock = replace(machine.clock, synchronised=False)
    assert machine.reader.host().keys() & {"clock_synchronised", "clock_offset_seconds"} == {
        "clock_synchronised"
    }
    machine.clock = None
    assert "clock_synchronised" not in machine.reader.host()


def test_the_kernel_tells_of_its_clock() -> None:
    """The layout of the C structure is right: the error is one, and not another field."""
    clock = kernel_clock()
    assert clock is not None
    assert 0 <= clock.max_error <= 16.1  # the kernel stops counting at 16 s


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


def test_every_number_stands_in_the_table_and_the_other_way_round(machine: Machine) -> None:
    """docs/metrics.md is made of the table: nothing is told of that is not read, and no less."""
    machine.write({**PI, **V2, FIRMWARE: "0\n", "run/reboot-required": ""})
    emmc = "sys/class/block/mmcblk0/device"
    machine.write({f"{emmc}/life_time": "0x01 0x01", f"{emmc}/pre_eol_info": "0x01"})
    mounts = "1 0 0:1 / / rw - ext4 /dev/root rw\n" + V2["proc/self/mountinfo"]
    machine.write({"proc/self/mountinfo": mounts})
    machine.disks["/d"] = replace(machine.disks["/"], device=1)
    machine.disks["/s"] = replace(machine.disks["/"], device=2)
    machine.clock = Clock(True, 0.0, 0.1)
    machine.reader.host()
    machine.reader.containers([container()])
    machine.now += 1
    machine.write({"proc/stat": "cpu  130 0 110 750 110 0 0 0 99 0\nbtime 1700000000\n"})
    host = machine.reader.host(Path("/d"), Path("/s"))
    web = machine.reader.containers([container(health="healthy")])["web"]
    assert set(host) == {metric.name for metric in metrics_table.HOST}
    assert set(web) == {metric.name for metric in metrics_table.CONTAINER}
    assert len(host) <= 100 and len(web) <= 100  # the control plane refuses more
