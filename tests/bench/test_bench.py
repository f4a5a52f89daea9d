# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's own judgement: a wrong figure is worse than none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.breakdown import Task, read_tasks
from bench.hosts import BenchError
from bench.table import Row, Sample, comparison
from bench.workload import (
    LABEL,
    RESTART,
    Node,
    Service,
    docker_container_arguments,
    otto_file,
    pyinfra_arguments,
    workload,
    wrongs,
)

WORK = workload([Node("rpi-91", "10.77.0.101", "pi")], 4)


def inspected(service: Service) -> dict[str, Any]:
    """The parts of `docker inspect` that matter, for a container that is as it has to be."""
    return {
        "Name": f"/{service.name}",
        "State": {"Running": True},
        "Config": {
            "Image": service.image,
            "Cmd": list(service.command),
            "Env": ["PATH=/bin", *(f"{k}={v}" for k, v in service.environment.items())],
            "Labels": {LABEL: "somebody", "image": "label"},
        },
        "HostConfig": {
            "PortBindings": {
                f"{inner}/tcp": [{"HostIp": "", "HostPort": str(outer)}]
                for outer, inner in service.ports.items()
            },
            "RestartPolicy": {"Name": RESTART},
        },
    }


def documents() -> list[dict[str, Any]]:
    return [inspected(service) for service in WORK.services]


def test_all_of_the_work_has_no_wrongs() -> None:
    assert wrongs(WORK, "somebody", documents()) == []


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("State", "Running"), False, "bench-00: running is False"),
        (("Config", "Image"), "busybox:latest", "bench-00: image"),
        (("Config", "Cmd"), ["sh"], "bench-00: command"),
        (("Config", "Env"), ["BENCH_NAME=bench-00"], "bench-00: environment"),
        (("Config", "Labels"), None, "bench-00: label"),
        (("HostConfig", "PortBindings"), None, "bench-00: ports"),
        (("HostConfig", "RestartPolicy"), {"Name": "no"}, "bench-00: restart"),
    ],
)
def test_half_of_the_work_is_told(path: tuple[str, str], value: Any, found: str) -> None:
    """A contender that leaves something out is not measured but refused."""
    seen = documents()
    seen[0][path[0]][path[1]] = value
    (problem,) = wrongs(WORK, "somebody", seen)
    assert problem.startswith(found)


def test_missing_and_left_over_containers_are_told() -> None:
    seen = documents()
    seen[1]["Name"] = "/other"
    assert wrongs(WORK, "somebody", seen) == ["bench-01 is missing", "other is left over"]


def test_every_contender_is_asked_for_the_same() -> None:
    """Name, image and ports of the three renderings are equal, in order."""
    otto = otto_file(WORK, "m", Path("key"), ("10.77.0.1", 1883))["services"]
    community = docker_container_arguments(WORK, "m")
    pyinfra = pyinfra_arguments(WORK, "m")
    assert [(s["name"], s["image"], s["ports"]) for s in otto] == [
        (s["name"], s["image"], s["published_ports"]) for s in community
    ]
    assert [(s["container"], s["image"], s["ports"]) for s in pyinfra] == [
        (s["name"], s["image"], s["ports"]) for s in otto
    ]


def test_ratio_is_of_medians_within_a_phase() -> None:
    """The middle round counts, and a phase that the reference lacks has no ratio."""
    rows = [
        Row("A", "no-op", (Sample(1.0, 0.5), Sample(9.0, 0.5), Sample(2.0, 0.5))),
        Row("B", "no-op", (Sample(5.0, 0.5),)),
        Row("B", "first", (Sample(7.0, 0.5),)),
    ]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in comparison(rows, "A").splitlines()[2:]
    ]
    assert [(row[0], row[2], row[3], row[4]) for row in cells] == [
        ("A", "2.00", "1.0-9.0", "1.00"),
        ("B", "5.00", "5.0-5.0", "2.50"),
        ("B", "7.00", "7.0-7.0", "-"),
    ]


def test_task_time_ends_with_the_last_host() -> None:
    lines = [
        {"kind": "start", "at": 9.0},
        {"kind": "task", "task": "1", "name": "look", "began": 10.0, "at": 11.0, "on_node": None},
        {"kind": "task", "task": "1", "name": "look", "began": 10.0, "at": 12.5, "on_node": 0.25},
    ]
    assert read_tasks(map(json.dumps, lines)) == [Task("look", 2.5, 0.25)]


def test_timings_without_a_task_are_an_error() -> None:
    with pytest.raises(BenchError):
        read_tasks([json.dumps({"kind": "start", "at": 9.0})])
