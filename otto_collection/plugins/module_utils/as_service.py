# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that runs -> the service to write into otto.yaml, so that the same would run. Pure.

What the image and the engine add by themselves is left out. What this room does not know how to
write is not guessed: `left` reads the service back as otto.yaml is read, compares it with the
container as every plan does, and says what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Change, Engine
from ansible_collections.otto.cluster.plugins.module_utils.option_sides_storage import ANONYMOUS
from ansible_collections.otto.cluster.plugins.module_utils.options import (
    differences,
    parse_service,
)
from ansible_collections.otto.cluster.plugins.module_utils.secret_variables import Variables

Document = Mapping[str, Any]

_TEXTS = (
    ("user", "User"),
    ("working_dir", "WorkingDir"),
    ("domainname", "Domainname"),
    ("stop_signal", "StopSignal"),
)
_FLAGS = (
    ("privileged", "Privileged"),
    ("read_only", "ReadonlyRootfs"),
    ("init", "Init"),
)
_LISTS = (
    ("cap_add", "CapAdd"),
    ("cap_drop", "CapDrop"),
    ("security_opt", "SecurityOpt"),
    ("dns", "Dns"),
    ("dns_search", "DnsSearch"),
    ("extra_hosts", "ExtraHosts"),
    ("group_add", "GroupAdd"),
)
_NUMBERS = (
    ("mem_limit", "Memory"),
    ("mem_reservation", "MemoryReservation"),
    ("cpu_shares", "CpuShares"),
    ("pids_limit", "PidsLimit"),
)
_FOREIGN_LABELS = ("io.otto.", "com.docker.compose.")
_SHM = 64 << 20


@dataclass(frozen=True)
class AsService:
    """service: the keys as they are typed, with real values: never to be shown. volumes, networks:
    entries of the top level that it needs."""

    service: dict[str, Any]
    volumes: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _file(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        variables = Variables()
        service = variables.of_service("", self.service, lambda text: text.replace("$", "$$"))
        return service, tuple(sorted(variables.values))

    def shown(self) -> dict[str, Any]:
        """The service as it goes into a file: secrets by variable, a literal `$` doubled."""
        return dict(self._file[0])

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of those variables."""
        return self._file[1]


def service_of(inspect: Document, image: Document) -> AsService:
    """inspect: of the container; image: Config of its image."""
    config, host = inspect.get("Config") or {}, inspect.get("HostConfig") or {}
    service: dict[str, Any] = {"image": config.get("Image")}
    entrypoint, command = config.get("Entrypoint"), config.get("Cmd")
    if entrypoint != image.get("Entrypoint"):
        service["entrypoint"] = list(entrypoint or [])
    if command != image.get("Cmd") or ("entrypoint" in service and command):
        service["command"] = list(command or [])
    environment = _without(_pairs(config.get("Env")), _pairs(image.get("Env")))
    labels = _without(config.get("Labels") or {}, image.get("Labels") or {})
    labels = {k: v for k, v in labels.items() if not k.startswith(_FOREIGN_LABELS)}
    service.update({k: v for k, v in (("environment", environment), ("labels", labels)) if v})
    for name, key in _TEXTS:
        if config.get(key) and config.get(key) != image.get(key):
            service[name] = config[key]
    if config.get("Hostname") not in ("", None, str(inspect.get("Id"))[:12]):
        service["hostname"] = config["Hostname"]
    service.update({name: True for name, key in _FLAGS if host.get(key)})
    service.update(
        {n: True for n, k in (("tty", "Tty"), ("stdin_open", "OpenStdin")) if config.get(k)}
    )
    service.update({name: list(host[key]) for name, key in _LISTS if host.get(key)})
    service.update({name: host[key] for name, key in _NUMBERS if (host.get(key) or 0) > 0})
    service.update(_others(inspect, image))
    volumes = _mounts(inspect, service)
    networks = _networks(inspect, service)
    return AsService(service, volumes, networks)


def left(found: AsService, inspect: Document, image: Document, engine: Engine) -> list[str]:
    """What the container has and the service does not say; () where the service says it all."""
    problems = Problems()
    spec = parse_service(found.service, ("services", "adopted"), problems)
    told = [str(problem) for problem in problems.located("")]
    for name, keys in differences(spec, inspect, image, engine).items():
        for key, (now, wanted) in keys.items():
            if not (name == "networks" and now is not None and wanted is not None):
                told.append(Change(f"{name}.{key}" if key else name, now, wanted, "file").line())
    return told


# ---- pieces


def _others(inspect: Document, image: Document) -> Iterator[tuple[str, Any]]:
    config, host = inspect.get("Config") or {}, inspect.get("HostConfig") or {}
    policy = host.get("RestartPolicy") or {}
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    yield "restart", f"{name}:{count}" if name == "on-failure" and count else name
    ports = [
        _port(port, binding or {})
        for port, bindings in sorted((host.get("PortBindings") or {}).items())
        for binding in bindings or [{}]
    ]
    if ports:
        yield "ports", ports
    if host.get("NanoCpus"):
        yield "cpus", host["NanoCpus"] / 10**9
    if host.get("CpusetCpus"):
        yield "cpuset", host["CpusetCpus"]
    if host.get("ShmSize") not in (None, 0, _SHM):
        yield "shm_size", host["ShmSize"]
    if host.get("Sysctls"):
        yield "sysctls", dict(host["Sysctls"])
    if host.get("Tmpfs"):
        yield "tmpfs", [f"{p}:{o}" if o else p for p, o in sorted(host["Tmpfs"].items())]
    if host.get("Ulimits"):
        yield (
            "ulimits",
            {u["Name"]: {"soft": u["Soft"], "hard": u["Hard"]} for u in host["Ulimits"]},
        )
    if host.get("Devices"):
        yield (
            "devices",
            [
                "{PathOnHost}:{PathInContainer}:{CgroupPermissions}".format(**d)
                for d in host["Devices"]
            ],
        )
    if host.get("PidMode") == "host":
        yield "pid", "host"
    if config.get("StopTimeout"):
        yield "stop_grace_period", "{}s".format(config["StopTimeout"])
    logs = host.get("LogConfig") or {}
    if logs.get("Config") or logs.get("Type") not in (None, "", "json-file"):
        yield "logging", {"driver": logs.get("Type"), "options": dict(logs.get("Config") or {})}
    health = config.get("Healthcheck")
    if health and health != image.get("Healthcheck"):
        yield "healthcheck", _health(health)


def _health(health: Document) -> dict[str, Any]:
    found: dict[str, Any] = {"test": list(health.get("Test") or [])}
    for name, key in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
    ):
        if health.get(key):
            found[name] = f"{health[key] // 1000}us"
    if health.get("Retries"):
        found["retries"] = health["Retries"]
    return found


def _port(port: str, binding: Document) -> str:
    number, _, protocol = port.partition("/")
    text = f"{binding['HostPort']}:{number}" if binding.get("HostPort") else number
    if binding.get("HostIp") not in (None, "", "0.0.0.0", "::"):
        host = binding["HostIp"]
        text = f"[{host}]:{text}" if ":" in host else f"{host}:{text}"
    return text if protocol in ("", "tcp") else f"{text}/{protocol}"


def _mounts(inspect: Document, service: dict[str, Any]) -> dict[str, Any]:
    """Puts `volumes` into the service; returns those of the top level."""
    mounts: list[Any] = []
    volumes: dict[str, Any] = {}
    for mount in sorted(inspect.get("Mounts") or (), key=lambda m: str(m.get("Destination"))):
        kind, target = mount.get("Type"), mount.get("Destination")
        read_only = {} if mount.get("RW", True) else {"read_only": True}
        if kind == "bind":
            mounts.append(
                {"type": "bind", "source": mount["Source"], "target": target, **read_only}
            )
        elif kind == "volume" and not ANONYMOUS.fullmatch(mount.get("Name") or ""):
            name = mount["Name"]
            mounts.append({"type": "volume", "source": name, "target": target, **read_only})
            volumes[name] = {"external": True}
    if mounts:
        service["volumes"] = mounts
    return volumes


def _networks(inspect: Document, service: dict[str, Any]) -> dict[str, Any]:
    """Puts `networks` or `network_mode` into the service; returns those of the top level."""
    mode = (inspect.get("HostConfig") or {}).get("NetworkMode") or "default"
    if mode in ("default", "bridge", "host", "none"):
        service["network_mode"] = "bridge" if mode == "default" else mode
        return {}
    ends = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    service["networks"] = {}
    for name, end in sorted(ends.items()):
        own = {str(inspect.get("Id"))[:12], str(inspect.get("Name", "")).lstrip("/")}
        aliases = sorted(set((end or {}).get("Aliases") or ()) - own)
        address = ((end or {}).get("IPAMConfig") or {}).get("IPv4Address")
        service["networks"][name] = {
            **({"aliases": aliases} if aliases else {}),
            **({"ipv4_address": address} if address else {}),
        }
    return {name: {"external": True} for name in service["networks"]}


def _pairs(lines: Any) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines or ())


def _without(found: Mapping[str, str], image: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in found.items() if image.get(key) != value}
