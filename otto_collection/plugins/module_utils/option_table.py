# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service option table: one entry per option, and everything that is said of it. Pure.

A new option is a new entry (and its test rows).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import option_engine as side
from . import option_needs as needs
from . import option_parsers as parse
from . import option_parsers_limits as parse_limits
from . import option_parsers_net as parse_net
from . import option_parsers_service as parse_service
from . import option_parsers_storage as parse_storage
from . import option_sides_image as image
from . import option_sides_limits as limits
from . import option_sides_net as net
from . import option_sides_process as process
from . import option_sides_storage as storage
from .option_engine import Side
from .option_needs import HARMLESS, Needs
from .option_schemas import (
    BLKIO,
    DEPENDENCY,
    DEPLOY,
    DEVICE,
    DEVICE_REQUEST,
    FILE,
    FLAG,
    HEALTH,
    HOOK,
    JOINING,
    MAPPING,
    NETWORK,
    NUMBER,
    PORT,
    SCALAR,
    TEXT,
    TEXTS,
    ULIMIT,
    VOLUME,
    any_of,
    list_of,
    map_of,
    object_of,
)
from .option_text import (
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
    without_effect,
)


@dataclass(frozen=True)
class Option:
    """name: the compose-spec's. doc: one line. schema: JSON Schema of what may be written.
    argument: type in an Ansible argument spec; "" where one container alone has no use for it.
    side: how the engine shows it. needs: what it asks of the node; one that declares nothing is
    refused where the node's owner has a policy.
    spreads: another way to write other options: its parser gives option -> (value, where).
    seen: how it is compared, and changes: what its change costs, where `side` does not tell.
    note: for docs/compose.md.
    """

    name: str
    doc: str
    schema: Mapping[str, Any]
    argument: str
    parse: Parser
    side: Side
    needs: Needs | None = None
    spreads: bool = False
    seen: str = ""
    changes: str = ""
    note: str = ""

    @property
    def compared(self) -> str:
        """How what a container shows is compared with the file."""
        if self.seen or self.side is side.PLAN_ONLY:
            return self.seen or "–"
        extra = []
        if self.side.inherits:
            extra.append("with what the image brings")
        if self.side.adds is not None:
            extra.append("the engine's own value is no change")
        if self.side.discards:
            extra.append("what the kernel cannot do is no change")
        if self.side.since:
            extra.append(f"from API {'.'.join(map(str, self.side.since))} on")
        return ", ".join(["exactly", *extra])

    @property
    def costs(self) -> str:
        """What its change costs: in place, or a new container."""
        if self.changes:
            return self.changes
        if self.side.update is None:
            return "nothing to do" if self.side is side.PLAN_ONLY else "replaced"
        taken_away = self.side.update({"image": ""})
        return "in place" if taken_away is not None else "in place; replaced when taken away"


def _host_flag(name: str, key: str) -> Side:
    return side.host(name, key, False)


def _nano(value: float) -> int:
    return round(value * 10**9)


# fmt: off
_ENTRIES: tuple[Option, ...] = (
    Option("image", "Image to run, such as C(nginx:alpine).", TEXT, "str",
           matching(r"\S+", "an image such as nginx:alpine"), image.IMAGE, HARMLESS),
    Option("command", "Command, instead of the image's own.", TEXTS, "raw",
           parse.command, image.COMMAND, HARMLESS,
           note="Text is split into words; no shell runs."),
    Option("entrypoint", "Entrypoint, instead of the image's own (clears its command too).",
           TEXTS, "raw", parse.words, image.ENTRYPOINT, HARMLESS),
    Option("environment", "Environment variables.", MAPPING, "raw",
           parse.environment, image.ENVIRONMENT, HARMLESS),
    Option("ports", "Ports of the container that the node publishes, such as C(8080:80).",
           any_of(NUMBER, list_of(PORT)), "raw", parse_net.ports, net.PORTS, HARMLESS,
           note="A set; ranges count port by port. A published port left out is any free one."),
    Option("restart", "When the engine starts it again by itself.", any_of(TEXT, FLAG), "raw",
           parse.restart, process.RESTART, HARMLESS,
           note="Left out it is unless-stopped, where compose says no."),
    Option("labels", "Labels of the container.", MAPPING, "raw", parse.labels, image.LABELS,
           HARMLESS),
    Option("volumes", "Directories of the node, named volumes and tmpfs that it mounts.",
           list_of(VOLUME), "raw", parse_storage.volumes, storage.VOLUMES, needs.VOLUMES,
           note="A set by target. Anonymous volumes go over to the next container."),
    Option("tmpfs", "Paths that hold a file system in memory.", TEXTS, "raw",
           parse_storage.tmpfs, side.host_map("tmpfs", "Tmpfs"), needs.TMPFS),
    Option("networks", "Networks that it joins, by list or with aliases and addresses.",
           any_of(TEXT, list_of(TEXT), map_of(NETWORK)), "raw", parse_net.networks, net.NETWORKS,
           needs.NETWORKS,
           changes="in place; replaced while it stands still"),
    Option("network_mode", "The node's own network (C(host)), the engine's (C(bridge)), none, or"
           " that of C(service:NAME) or C(container:NAME).",
           JOINING, "str",
           parse_net.joining("bridge", "host", "none", hint="other networks: networks:"),
           net.NETWORK_MODE, needs.NETWORK_MODE,
           note="With service: a new container of that one is a new one of this."),
    Option("user", "User, or user:group, that it runs as.", NUMBER, "str",
           text, side.config("user", "User", inherits=True), HARMLESS),
    Option("working_dir", "Directory that its command starts in.", TEXT, "str",
           matching(r"/.*", "an absolute path"),
           # Engines before 26 show it cleaned.
           side.config("working_dir", "WorkingDir", back=posixpath.normpath, inherits=True),
           needs.WORKING_DIR),
    Option("hostname", "Host name inside the container.", TEXT, "str",
           matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62})", "a host name"), process.HOSTNAME,
           HARMLESS),
    Option("domainname", "Domain name inside the container.", TEXT, "str",
           text, side.config("domainname", "Domainname"), HARMLESS),
    Option("container_name", "Name of the container, instead of the service's.", TEXT, "",
           matching(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "letters, digits, _ . -"), side.PLAN_ONLY,
           HARMLESS,
           seen="by the container's name", changes="replaced",
           note="A new name is a new container. Not with scale."),
    Option("healthcheck", "How the engine sees whether it serves.", HEALTH, "dict",
           parse.healthcheck, process.HEALTHCHECK, HARMLESS,
           note="What is left out comes from the image; start_interval from API 1.44 on."),
    Option("mem_limit", "Most memory that it may use.", NUMBER, "raw", size, limits.MEM_LIMIT,
           HARMLESS),
    Option("mem_reservation", "Memory that is kept for it when memory is short.", NUMBER, "raw",
           size, side.resource("mem_reservation", "MemoryReservation", back=side.show_size),
           HARMLESS),
    Option("memswap_limit", "Most memory and swap together; -1 for no limit of swap.", NUMBER,
           "raw", limit, limits.MEMSWAP_LIMIT, HARMLESS,
           note="Needs mem_limit; left out it is twice that."),
    Option("cpus", "Most CPUs that it may use.", NUMBER, "raw",
           cpus, side.resource("cpus", "NanoCpus", _nano, lambda v: side.show(v / 10**9)), HARMLESS,
           note="Not with cpu_quota or cpu_period."),
    Option("cpu_shares", "Its weight when CPUs are short (1024 is usual).", NUMBER, "int",
           integer(2, 262144), side.resource("cpu_shares", "CpuShares"), HARMLESS),
    Option("cpuset", "CPUs that it may use, such as C(0-2,4).", NUMBER, "str",
           matching(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", "such as 0-2,4"),
           side.resource("cpuset", "CpusetCpus"), HARMLESS),
    Option("pids_limit", "Most processes that it may have; -1 for no limit.", NUMBER, "int",
           integer(-1), limits.PIDS_LIMIT, HARMLESS),
    Option("cap_add", "Capabilities that it gets.", TEXTS, "raw", parse.capabilities,
           side.host_list("cap_add", "CapAdd", parse.normal_capability), needs.CAP_ADD,
           note="A set."),
    Option("cap_drop", "Capabilities that it loses.", TEXTS, "raw", parse.capabilities,
           side.host_list("cap_drop", "CapDrop", parse.normal_capability), HARMLESS,
           note="A set."),
    Option("security_opt", "Security options, such as C(no-new-privileges).", TEXTS, "raw",
           parse.security_opt, process.SECURITY_OPT, needs.SECURITY_OPT,
           note="A set. Of seccomp profiles only unconfined."),
    Option("privileged", "Whether it has every right on the node.", FLAG, "bool",
           boolean, _host_flag("privileged", "Privileged"), needs.PRIVILEGED),
    Option("read_only", "Whether its own file system is read-only.", FLAG, "bool",
           boolean, _host_flag("read_only", "ReadonlyRootfs"), HARMLESS),
    Option("init", "Whether a small init process reaps what its command leaves.", FLAG, "bool",
           boolean, process.INIT, HARMLESS),
    Option("tty", "Whether it has a terminal.", FLAG, "bool",
           boolean, side.config("tty", "Tty", False), HARMLESS),
    Option("stdin_open", "Whether its standard input stays open.", FLAG, "bool",
           boolean, side.config("stdin_open", "OpenStdin", False), HARMLESS),
    Option("stop_signal", "Signal that asks it to end.", NUMBER, "str",
           matching(r"[0-9]+|[A-Z][A-Z0-9+-]*", "such as SIGTERM"),
           side.config("stop_signal", "StopSignal", "SIGTERM", inherits=True), HARMLESS),
    Option("stop_grace_period", "Time that it has to end before it is killed.", TEXT, "str",
           duration, process.GRACE, HARMLESS),
    Option("dns", "DNS servers.", TEXTS, "raw",
           strings, side.host_list("dns", "Dns", ordered=True), HARMLESS,
           note="Their order counts."),
    Option("dns_search", "DNS search domains.", TEXTS, "raw",
           strings, side.host_list("dns_search", "DnsSearch", ordered=True), HARMLESS,
           note="Their order counts."),
    Option("extra_hosts", "Further names in its hosts file.", MAPPING, "raw",
           parse_net.extra_hosts, side.host_list("extra_hosts", "ExtraHosts"), HARMLESS,
           note="A set."),
    Option("group_add", "Further groups of its user.", TEXTS, "raw",
           string_set, side.host_list("group_add", "GroupAdd"), HARMLESS,
           note="A set."),
    Option("devices", "Devices of the node that it may use.", any_of(TEXT, list_of(DEVICE)), "raw",
           parse.devices, process.DEVICES, needs.DEVICES,
           note="A set."),
    Option("shm_size", "Size of /dev/shm.", NUMBER, "raw",
           size, side.host("shm_size", "ShmSize", back=side.show_size, adds=side.always), HARMLESS,
           note="The engine does not say its own size: a change by hand is seen where the"
                " file names it."),
    Option("sysctls", "Kernel settings of its namespaces.", MAPPING, "raw",
           parse.sysctls, side.host_map("sysctls", "Sysctls"), needs.SYSCTLS),
    Option("ulimits", "Limits of its processes.", map_of(ULIMIT), "dict",
           parse.ulimits, process.ULIMITS, needs.ULIMITS,
           note="The engine does not say its own: a change by hand is seen where the file"
                " names it."),
    Option("ipc", "IPC namespace: C(private), C(shareable), C(host), C(none), or that of"
           " C(service:NAME) or C(container:NAME).", JOINING, "str",
           parse_net.joining("private", "shareable", "host", "none"), process.IPC, needs.IPC),
    Option("pid", "Processes that it sees: C(host) for the node's, or those of C(service:NAME) or"
           " C(container:NAME).", JOINING, "str",
           parse_net.joining("host"),
           side.host("pid", "PidMode", form=side.namespace), needs.PID),
    Option("userns_mode", "C(host) for the node's user namespace.", {"enum": ["host"]}, "str",
           one_of("host"), side.host("userns_mode", "UsernsMode"), needs.USERNS),
    Option("cgroup", "Cgroup namespace.", {"enum": ["private", "host"]}, "str",
           one_of("private", "host"), process.CGROUP, needs.CGROUP),
    Option("logging", "Log driver and its options.",
           object_of({"driver": TEXT, "options": map_of(SCALAR)}, ("driver",)), "dict",
           parse.logging, process.LOGGING, needs.LOGGING,
           note="The engine's own driver is known; its options are not."),
    Option("depends_on", "Services of its node that are to be up, or healthy, before it.",
           any_of(TEXT, list_of(TEXT), map_of(DEPENDENCY)), "", parse_service.depends_on,
           side.PLAN_ONLY, HARMLESS,
           note="Order of start and stop, with condition, required and restart. Only services"
                " of the same node wait for each other."),
    Option("pull_policy", "When the image is fetched.",
           any_of({"enum": ["always", "missing", "if_not_present", "never", "newer", "daily",
                            "weekly"]},
                  {"type": "string", "pattern": "^every_"}),
           "str", parse_service.pull_policy, side.PLAN_ONLY, HARMLESS,
           note="always, missing, never, newer, daily, weekly, every_12h. An apply asks the"
                " registry, the agent does not."),
    Option("secrets", "Secrets of the file that it reads, as files.", list_of(FILE), "",
           parse_storage.secrets, side.PLAN_ONLY,
           needs.FILES, seen="as mounts, by the digest of the content",
           changes="replaced",
           note="Read-only files with mode and owner; new content is a new container."),
    Option("configs", "Configs of the file that it reads, as files.", list_of(FILE), "",
           parse_storage.configs, side.PLAN_ONLY,
           needs.FILES, seen="as mounts, by the digest of the content",
           changes="replaced",
           note="Read-only files with mode and owner; new content is a new container."),
    Option("post_start", "Commands that run in it once it has started.", list_of(HOOK), "",
           parse_service.hooks, side.PLAN_ONLY, needs.HOOKS),
    Option("pre_stop", "Commands that run in it before it is stopped.", list_of(HOOK), "",
           parse_service.hooks, side.PLAN_ONLY, needs.HOOKS),
    Option("scale", "Containers of it on each of its nodes.", NUMBER, "", parse_service.scale,
           side.PLAN_ONLY, HARMLESS, seen="by how many there are", spreads=True,
           changes="containers come and go",
           note="The same as deploy.replicas."),
    Option("deploy", "Copies, limits, restart and update order, as Swarm's files say them.",
           DEPLOY, "", parse_service.deploy, side.PLAN_ONLY, HARMLESS, spreads=True,
           seen="as what it stands for", changes="as what it stands for",
           note="replicas, resources, restart_policy and update_config.order become the"
                " options that they mean; reservations.cpus becomes cpu_shares. The rest is"
                " Swarm's, and refused with what to use."),
    Option("gpus", "GPUs of the node that it may use: C(all), or device requests.",
           any_of({"const": "all"}, list_of(DEVICE_REQUEST)), "raw", parse_service.gpus,
           process.GPUS, needs.DEVICES,
           note="Also of deploy.resources.reservations.devices. Starting needs the vendor's"
                " runtime."),
    Option("annotations", "Annotations of the container, for its runtime.", MAPPING, "raw",
           parse.annotation_texts, side.host_map("annotations", "Annotations", since=(1, 43)),
           needs.ANNOTATIONS,
           note="An older engine is an error of that service: it would just leave them out."),
    Option("attach", "Whether C(docker compose up) would show its output.", FLAG, "",
           without_effect(boolean), side.PLAN_ONLY, HARMLESS,
           note="Taken, and of no effect: Otto stays attached to no service."),
    Option("blkio_config", "Weight and rates of its block devices.", BLKIO, "dict",
           parse_limits.blkio_config, limits.BLKIO, HARMLESS),
    Option("cgroup_parent", "Cgroup that its own is made in.", TEXT, "str",
           text, side.host("cgroup_parent", "CgroupParent"), needs.CGROUP_PARENT),
    Option("cpu_period", "Length of a round of its CPU quota, in microseconds or as C(50ms).",
           NUMBER, "str", parse_limits.microseconds(1000), limits.CPU_PERIOD, HARMLESS),
    Option("cpu_quota", "CPU time that it gets in each round, in microseconds or as C(20ms).",
           NUMBER, "str", parse_limits.microseconds(1000, 2**53), limits.CPU_QUOTA, HARMLESS),
    Option("cpu_rt_period", "Length of a round of its real-time quota.", NUMBER, "str",
           parse_limits.microseconds(1), side.resource("cpu_rt_period", "CpuRealtimePeriod"),
           needs.REAL_TIME,
           note="Only a kernel with real-time groups starts it."),
    Option("cpu_rt_runtime", "Real-time CPU time that it gets in each round.", NUMBER, "str",
           parse_limits.microseconds(1), side.resource("cpu_rt_runtime", "CpuRealtimeRuntime"),
           needs.REAL_TIME,
           note="Only a kernel with real-time groups starts it."),
    Option("device_cgroup_rules", "Kinds of devices that it may use, such as C(c 188:* rmw).",
           TEXTS, "raw", parse_limits.cgroup_rules,
           side.host_list("device_cgroup_rules", "DeviceCgroupRules"), needs.DEVICES,
           note="A set."),
    Option("dns_opt", "Options of its resolver, such as C(ndots:2).", TEXTS, "raw",
           string_set, side.host_list("dns_opt", "DnsOptions"), HARMLESS,
           note="A set."),
    Option("expose", "Ports that it serves to other containers.", any_of(NUMBER, list_of(NUMBER)),
           "raw", parse_net.expose, net.EXPOSE, HARMLESS,
           note="A set; published ports are exposed anyway."),
    Option("links", "Other names for services on its networks, such as C(db:database).", TEXTS,
           "", parse_net.links, side.PLAN_ONLY, HARMLESS, seen="with its networks",
           changes="in place",
           note="Names on the networks that both share; implies depends_on."),
    Option("mac_address", "MAC address on its first network.", TEXT, "str",
           parse_net.mac_address, net.MAC_ADDRESS, HARMLESS),
    Option("mem_swappiness", "How gladly its memory is swapped out, 0 to 100.", NUMBER, "int",
           integer(0, 100), side.host("mem_swappiness", "MemorySwappiness", discards=True),
           HARMLESS),
    Option("oom_kill_disable", "Whether the kernel lets it hang instead of killing it.", FLAG,
           "bool", boolean, limits.OOM_KILL, needs.OOM_KILL_DISABLE),
    Option("oom_score_adj", "How soon the kernel kills it when memory is out, -1000 to 1000.",
           NUMBER, "int", integer(-1000, 1000), side.host("oom_score_adj", "OomScoreAdj", 0),
           needs.OOM_SCORE_ADJ),
    Option("platform", "Platform of its image, such as C(linux/arm64).", TEXT, "str",
           matching(r"[a-z0-9]+(/[a-z0-9_]+(/[a-z0-9]+)?)?", "such as linux/arm64"),
           side.PLAN_ONLY, HARMLESS, seen="with its image",
           note="Of the image; another one than the node can run is told before anything is"
                " stopped."),
    Option("runtime", "Runtime of the engine that runs it.", TEXT, "str", text, process.RUNTIME,
           needs.RUNTIME),
    Option("storage_opt", "Options of the storage of its own file system.", MAPPING, "raw",
           parse.sysctls, side.host_map("storage_opt", "StorageOpt"), needs.STORAGE_OPT,
           note="Only where the node's storage has quotas; else the engine refuses it, and"
                " says so."),
    Option("uts", "C(host) for the node's host name.", {"enum": ["host"]}, "str",
           one_of("host"), side.host("uts", "UTSMode"), needs.UTS),
    Option("volumes_from", "Services, or containers, whose mounts it has too.", TEXTS, "raw",
           parse_storage.volumes_from, storage.VOLUMES_FROM, needs.VOLUMES_FROM,
           note="SERVICE, or container:NAME."),
)
# fmt: on

OPTIONS: dict[str, Option] = {option.name: option for option in _ENTRIES}
