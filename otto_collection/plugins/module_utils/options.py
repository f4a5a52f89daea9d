# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service option table: one entry per option, and everything that is said of it. Pure.

`OPTIONS` yields the parser of otto.yaml, its JSON Schema, the arguments and documentation of module
`container`, the create body and the comparison. A new option is a new entry (and its test rows).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from . import option_engine as side
from . import option_parsers as parse
from .errors import Path, Problems, nearest, show_value
from .model import Engine, Spec
from .option_engine import Side
from .option_text import (
    At,
    Parser,
    boolean,
    cpus,
    duration,
    integer,
    limit,
    matching,
    one_of,
    size,
    string_set,
    strings,
    text,
)


@dataclass(frozen=True)
class Option:
    """name: the compose-spec's. doc: one line. schema: JSON Schema of what may be written.
    argument: type in an Ansible argument spec. side: how the engine shows it."""

    name: str
    doc: str
    schema: Mapping[str, Any]
    argument: str
    parse: Parser
    side: Side

    @property
    def in_place(self) -> bool:
        """The engine can change it (or some of its changes) without a new container."""
        return self.side.update is not None or self.name == "networks"


TEXT: Mapping[str, Any] = {"type": "string"}
NUMBER: Mapping[str, Any] = {"type": ["string", "number"]}
SCALAR: Mapping[str, Any] = {"type": ["string", "number", "boolean", "null"]}
FLAG: Mapping[str, Any] = {
    "anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "yes", "no", "on", "off"]}]
}


def _list(items: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": items}


def _object(optional: Mapping[str, Any], required: tuple[str, ...] = ()) -> Mapping[str, Any]:
    shape = {"type": "object", "properties": dict(optional), "additionalProperties": False}
    return {**shape, "required": list(required)} if required else shape


def _any(*shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"anyOf": list(shapes)}


TEXTS = _any(TEXT, _list(NUMBER))
MAPPING = _any({"type": "object", "additionalProperties": SCALAR}, _list(TEXT))
PORT = _any(
    NUMBER,
    _object(
        {
            "target": NUMBER,
            "published": NUMBER,
            "host_ip": TEXT,
            "protocol": {"enum": ["tcp", "udp", "sctp"]},
            "mode": {"enum": ["host", "ingress"]},
            "name": TEXT,
            "app_protocol": TEXT,
        },
        ("target",),
    ),
)
VOLUME = _any(
    TEXT,
    _object(
        {
            "type": {"enum": ["bind", "volume", "tmpfs"]},
            "source": TEXT,
            "target": TEXT,
            "read_only": FLAG,
            "bind": _object(
                {"propagation": TEXT, "create_host_path": FLAG, "selinux": {"enum": ["z", "Z"]}}
            ),
            "volume": _object({"nocopy": FLAG}),
            "tmpfs": _object({"size": NUMBER, "mode": NUMBER}),
        },
        ("type", "target"),
    ),
)
NETWORK = _any(
    {"type": "null"}, _object({"aliases": TEXTS, "ipv4_address": TEXT, "ipv6_address": TEXT})
)
HEALTH = _object(
    {
        "test": _any(TEXT, _list(TEXT)),
        "interval": TEXT,
        "timeout": TEXT,
        "start_period": TEXT,
        "start_interval": TEXT,
        "retries": NUMBER,
        "disable": FLAG,
    }
)
DEPENDENCY = _any(
    {"type": "null"},
    _object(
        {
            "condition": {
                "enum": [
                    "service_started",
                    "service_healthy",
                    "service_completed_successfully",
                ]
            },
            "required": FLAG,
            "restart": FLAG,
        }
    ),
)
ULIMIT = _any(NUMBER, _object({"soft": NUMBER, "hard": NUMBER}, ("soft", "hard")))
DEVICE = _any(TEXT, _object({"source": TEXT, "target": TEXT, "permissions": TEXT}, ("source",)))


def _map_of(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": shape}


def _host_flag(name: str, key: str) -> Side:
    return side.host(name, key, False)


def _nano(value: float) -> int:
    return round(value * 10**9)


# fmt: off
_ENTRIES: tuple[Option, ...] = (
    Option("image", "Image to run, such as C(nginx:alpine).", TEXT, "str",
           matching(r"\S+", "an image such as nginx:alpine"), side.IMAGE),
    Option("command", "Command, instead of the image's own.", TEXTS, "raw",
           parse.command, side.COMMAND),
    Option("entrypoint", "Entrypoint, instead of the image's own (clears its command too).",
           TEXTS, "raw", parse.words, side.ENTRYPOINT),
    Option("environment", "Environment variables.", MAPPING, "raw",
           parse.environment, side.ENVIRONMENT),
    Option("ports", "Ports of the container that the node publishes, such as C(8080:80).",
           _any(NUMBER, _list(PORT)), "raw", parse.ports, side.PORTS),
    Option("restart", "When the engine starts it again by itself.", _any(TEXT, FLAG), "raw",
           parse.restart, side.RESTART),
    Option("labels", "Labels of the container.", MAPPING, "raw", parse.labels, side.LABELS),
    Option("volumes", "Directories of the node, named volumes and tmpfs that it mounts.",
           _list(VOLUME), "raw", parse.volumes, side.VOLUMES),
    Option("tmpfs", "Paths that hold a file system in memory.", TEXTS, "raw",
           parse.tmpfs, side.host_map("tmpfs", "Tmpfs")),
    Option("networks", "Networks that it joins, by list or with aliases and addresses.",
           _any(TEXT, _list(TEXT), _map_of(NETWORK)), "raw", parse.networks, side.NETWORKS),
    Option("network_mode", "The node's own network (C(host)), the engine's (C(bridge)) or none.",
           {"enum": ["bridge", "host", "none"]}, "str", parse.network_mode, side.NETWORK_MODE),
    Option("user", "User, or user:group, that it runs as.", NUMBER, "str",
           text, side.config("user", "User", inherits=True)),
    Option("working_dir", "Directory that its command starts in.", TEXT, "str",
           matching(r"/.*", "an absolute path"),
           side.config("working_dir", "WorkingDir", inherits=True)),
    Option("hostname", "Host name inside the container.", TEXT, "str",
           matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62})", "a host name"), side.HOSTNAME),
    Option("domainname", "Domain name inside the container.", TEXT, "str",
           text, side.config("domainname", "Domainname")),
    Option("container_name", "Name of the container, instead of the service's.", TEXT, "str",
           matching(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "letters, digits, _ . -"), side.PLAN_ONLY),
    Option("healthcheck", "How the engine sees whether it serves.", HEALTH, "dict",
           parse.healthcheck, side.HEALTHCHECK),
    Option("mem_limit", "Most memory that it may use.", NUMBER, "raw", size, side.MEM_LIMIT),
    Option("mem_reservation", "Memory that is kept for it when memory is short.", NUMBER, "raw",
           size, side.resource("mem_reservation", "MemoryReservation", back=side.show_size)),
    Option("memswap_limit", "Most memory and swap together; -1 for no limit of swap.", NUMBER,
           "raw", limit, side.MEMSWAP_LIMIT),
    Option("cpus", "Most CPUs that it may use.", NUMBER, "raw",
           cpus, side.resource("cpus", "NanoCpus", _nano, lambda v: side.show(v / 10**9))),
    Option("cpu_shares", "Its weight when CPUs are short (1024 is usual).", NUMBER, "int",
           integer(2, 262144), side.resource("cpu_shares", "CpuShares")),
    Option("cpuset", "CPUs that it may use, such as C(0-2,4).", NUMBER, "str",
           matching(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", "such as 0-2,4"),
           side.resource("cpuset", "CpusetCpus")),
    Option("pids_limit", "Most processes that it may have; -1 for no limit.", NUMBER, "int",
           integer(-1), side.PIDS_LIMIT),
    Option("cap_add", "Capabilities that it gets.", TEXTS, "raw", parse.capabilities,
           side.host_list("cap_add", "CapAdd", parse.normal_capability)),
    Option("cap_drop", "Capabilities that it loses.", TEXTS, "raw", parse.capabilities,
           side.host_list("cap_drop", "CapDrop", parse.normal_capability)),
    Option("security_opt", "Security options, such as C(no-new-privileges).", TEXTS, "raw",
           parse.security_opt, side.SECURITY_OPT),
    Option("privileged", "Whether it has every right on the node.", FLAG, "bool",
           boolean, _host_flag("privileged", "Privileged")),
    Option("read_only", "Whether its own file system is read-only.", FLAG, "bool",
           boolean, _host_flag("read_only", "ReadonlyRootfs")),
    Option("init", "Whether a small init process reaps what its command leaves.", FLAG, "bool",
           boolean, side.INIT),
    Option("tty", "Whether it has a terminal.", FLAG, "bool",
           boolean, side.config("tty", "Tty", False)),
    Option("stdin_open", "Whether its standard input stays open.", FLAG, "bool",
           boolean, side.config("stdin_open", "OpenStdin", False)),
    Option("stop_signal", "Signal that asks it to end.", NUMBER, "str",
           matching(r"[0-9]+|[A-Z][A-Z0-9+-]*", "such as SIGTERM"),
           side.config("stop_signal", "StopSignal", "SIGTERM", inherits=True)),
    Option("stop_grace_period", "Time that it has to end before it is killed.", TEXT, "str",
           duration, side.GRACE),
    Option("dns", "DNS servers.", TEXTS, "raw",
           strings, side.host_list("dns", "Dns", ordered=True)),
    Option("dns_search", "DNS search domains.", TEXTS, "raw",
           strings, side.host_list("dns_search", "DnsSearch", ordered=True)),
    Option("extra_hosts", "Further names in its hosts file.", MAPPING, "raw",
           parse.extra_hosts, side.host_list("extra_hosts", "ExtraHosts")),
    Option("group_add", "Further groups of its user.", TEXTS, "raw",
           string_set, side.host_list("group_add", "GroupAdd")),
    Option("devices", "Devices of the node that it may use.", _any(TEXT, _list(DEVICE)), "raw",
           parse.devices, side.DEVICES),
    Option("shm_size", "Size of /dev/shm.", NUMBER, "raw",
           size, side.host("shm_size", "ShmSize", back=side.show_size, adds=True)),
    Option("sysctls", "Kernel settings of its namespaces.", MAPPING, "raw",
           parse.sysctls, side.host_map("sysctls", "Sysctls")),
    Option("ulimits", "Limits of its processes.", _map_of(ULIMIT), "dict",
           parse.ulimits, side.ULIMITS),
    Option("ipc", "IPC namespace.", {"enum": ["private", "shareable", "host", "none"]}, "str",
           one_of("private", "shareable", "host", "none"),
           side.host("ipc", "IpcMode", adds=True)),
    Option("pid", "C(host) for the node's processes.", {"enum": ["host"]}, "str",
           one_of("host"), side.host("pid", "PidMode")),
    Option("userns_mode", "C(host) for the node's user namespace.", {"enum": ["host"]}, "str",
           one_of("host"), side.host("userns_mode", "UsernsMode")),
    Option("cgroup", "Cgroup namespace.", {"enum": ["private", "host"]}, "str",
           one_of("private", "host"), side.host("cgroup", "CgroupnsMode", adds=True)),
    Option("logging", "Log driver and its options.",
           _object({"driver": TEXT, "options": _map_of(SCALAR)}, ("driver",)), "dict",
           parse.logging, side.LOGGING),
    Option("depends_on", "Services of its node that are to be up, or healthy, before it.",
           _any(TEXT, _list(TEXT), _map_of(DEPENDENCY)), "raw", parse.depends_on, side.PLAN_ONLY),
    Option("pull_policy", "When the image is fetched.", {"enum": ["always", "missing", "never"]},
           "str", one_of("always", "missing", "never"), side.PLAN_ONLY),
)
# fmt: on

OPTIONS: dict[str, Option] = {option.name: option for option in _ENTRIES}

_NOT_YET = """
    annotations attach blkio_config build cgroup_parent configs cpu_count cpu_percent
    cpu_period cpu_quota cpu_rt_period cpu_rt_runtime credential_spec deploy develop
    device_cgroup_rules dns_opt env_file expose extends external_links gpus isolation
    label_file links mac_address mem_swappiness models oom_kill_disable oom_score_adj
    platform post_start pre_start pre_stop profiles provider runtime scale secrets
    storage_opt use_api_socket uts volumes_from
"""
NOT_YET = frozenset(_NOT_YET.split())
"""Keys of the compose-spec that Otto knows of and does not do: said plainly, never ignored."""


def parse_service(
    raw: Any,
    path: Path,
    problems: Problems,
    *,
    environ: Mapping[str, str] | None = None,
    also: Collection[str] = (),
) -> dict[str, Any]:
    """A service as it is written -> its spec. All that is wrong goes to `problems`.

    raw: the mapping without the keys that are Otto's (name, node): `also` holds those, so that they
    are found as the nearest key. Keys that begin with x- are anyone's.
    """
    if not isinstance(raw, Mapping):
        problems.add(path, "is no service", found=show_value(raw), expected="a mapping")
        return {}
    spec: dict[str, Any] = {}
    for key, value in raw.items():
        name, here = str(key), (*path, str(key))
        if name in OPTIONS:
            if value is None and name != "networks":
                continue  # a key without a value says nothing
            parsed = OPTIONS[name].parse(value, At(here, problems, environ or {}))
            if parsed is not None:
                spec[name] = parsed
        elif name in NOT_YET:
            problems.add(here, f"{name} is not supported yet", hint="remove it")
        elif not name.startswith("x-"):
            problems.add(here, "is no key of a service", nearest=nearest(name, [*OPTIONS, *also]))
    if "image" not in raw or raw["image"] is None:
        problems.add(path, "has no image", expected="image: such as nginx:alpine")
    _together(spec, path, problems)
    return spec


def _together(spec: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """Options that do not go together."""
    if "network_mode" in spec and "networks" in spec:
        problems.add((*path, "network_mode"), "does not go with networks", hint="keep one of them")
    if spec.get("network_mode") in ("host", "none") and spec.get("ports"):
        hint = "on the node's own network every port is open as it is"
        mode = spec["network_mode"]
        problems.add((*path, "ports"), f"does nothing with network_mode: {mode}", hint=hint)
    if "memswap_limit" in spec and "mem_limit" not in spec:
        problems.add((*path, "memswap_limit"), "needs mem_limit", hint="add mem_limit")
    elif 0 <= spec.get("memswap_limit", -1) < spec.get("mem_limit", 0):
        hint = "it counts memory and swap together"
        problems.add((*path, "memswap_limit"), "is less than mem_limit", hint=hint)
    mounted = {volume["target"] for volume in spec.get("volumes", ())}
    for target in sorted(mounted & set(spec.get("tmpfs", ()))):
        problems.add((*path, "tmpfs"), "mounts where a volume is mounted", found=target)


def service_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a service's own keys, without name and node."""
    return {
        "type": "object",
        "properties": {
            option.name: {"description": option.doc.replace("C(", "").replace(")", ""),
                          **option.schema}
            for option in OPTIONS.values()
        },
        "patternProperties": {"^x-": {}},
        "required": ["image"],
    }  # fmt: skip


def argument_spec() -> dict[str, dict[str, Any]]:
    """The options as arguments of an Ansible module; none is required, values are parsed later."""
    return {
        option.name: {"type": option.argument} for option in OPTIONS.values()
        if option.name not in ("container_name", "depends_on")
    }  # fmt: skip


def create_payload(spec: Spec) -> dict[str, Any]:
    """Body of POST /containers/create for a resolved spec (no labels of Otto's in it)."""
    body: dict[str, Any] = {}
    for option in OPTIONS.values():
        option.side.payload(spec, body)
    return body


def differences(
    spec: Spec,
    inspect: Mapping[str, Any],
    image: Mapping[str, Any] | None,
    engine: Engine,
    applied: Spec | None = None,
) -> dict[str, dict[str, tuple[str | None, str | None]]]:
    """option -> key within it -> (observed, expected); empty for a container that is as it must.

    spec, applied: resolved; applied is the last-applied spec, None where it is not known.
    image: Config of the image that the container runs; None where it is no longer there: what it
    has a say in is then compared with the last-applied spec.
    """
    result: dict[str, dict[str, tuple[str | None, str | None]]] = {}
    for name, option in OPTIONS.items():
        wanted = option.side.expected(spec, image or {}, engine)
        found = option.side.observed(inspect)
        before = option.side.expected(applied, image or {}, engine) if applied is not None else {}
        if option.side.inherits and image is None:
            found = before if applied is not None else wanted
        if option.side.adds:
            found = {k: v for k, v in found.items() if k in wanted or k in before}
        keys = sorted(set(wanted) | set(found))
        delta = {k: (found.get(k), wanted.get(k)) for k in keys if found.get(k) != wanted.get(k)}
        if delta:
            result[name] = delta
    return result
