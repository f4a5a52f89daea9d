# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each option looks to the engine: written into a create body, and read back. Pure.

For every option three functions, gathered in a `Side`:
payload(spec, body) writes it into the body of POST /containers/create;
expected(spec, image, engine) says what a container of this spec must show;
observed(inspect) says what a container does show.
The last two give the same shape: a flat dict of texts ({"": text} for a scalar, {} where nothing
stands), which are equal exactly when there is nothing to do, and which a person can read.
A spec that comes here is *resolved*: its networks and volumes have their engine names.
"""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .model import Engine, Spec
from .option_parsers import normal_security_opt
from .option_text import seconds

Shown = dict[str, str]
Body = dict[str, Any]
Image = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """update(spec): settings of POST /containers/<id>/update that bring the option to its new
    value, None where the engine cannot do that in place (it takes 0 for "leave it").
    inherits: the image has a say in it.
    adds: the engine may set it by itself; what it adds is a change only where the last-applied
    spec had named it.
    """

    payload: Callable[[Spec, Body], None]
    expected: Callable[[Spec, Image, Engine], Shown]
    observed: Callable[[Mapping[str, Any]], Shown]
    update: Callable[[Spec], Mapping[str, Any] | None] | None = None
    inherits: bool = False
    adds: bool = False


def api_at_least(engine: Engine, major: int, minor: int) -> bool:
    found = re.fullmatch(r"(\d+)\.(\d+)", engine.api_version)
    return found is None or (int(found.group(1)), int(found.group(2))) >= (major, minor)


def one(value: Any) -> Shown:
    """The shape of a scalar; nothing for None and empty text."""
    return {} if value is None or value == "" else {"": show(value)}


def show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)


def show_size(value: int) -> str:
    """`512m`: the largest unit that divides it, so that equal texts are equal sizes."""
    for unit, factor in (("g", 1024**3), ("m", 1024**2), ("k", 1024)):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def show_duration(nanoseconds: int) -> str:
    for unit, factor in (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6)):
        if nanoseconds and nanoseconds % factor == 0:
            return f"{nanoseconds // factor}{unit}"
    return f"{nanoseconds}ns"


def show_words(words: Any) -> str:
    import shlex

    return " ".join(shlex.quote(word) for word in words)


def _host(body: Body) -> Body:
    part: Body = body.setdefault("HostConfig", {})
    return part


def host(name: str, key: str, default: Any = None, *, form: Callable[[Any], Any] | None = None,
         back: Callable[[Any], str] = show, adds: bool = False) -> Side:  # fmt: skip
    """A scalar of HostConfig. form: canonical -> engine; back: engine -> text."""
    return _scalar(name, ("HostConfig", key), default, form or (lambda v: v), back, False, adds)


def config(name: str, key: str, default: Any = None, *, form: Callable[[Any], Any] | None = None,
           back: Callable[[Any], str] = show, inherits: bool = False) -> Side:  # fmt: skip
    """A scalar of Config; `inherits`: the image's Config has it under the same key."""
    return _scalar(name, ("Config", key), default, form or (lambda v: v), back, inherits, False)


def _scalar(
    name: str,
    place: tuple[str, str],
    default: Any,
    form: Callable[[Any], Any],
    back: Callable[[Any], str],
    inherits: bool,
    adds: bool,
) -> Side:
    part, key = place

    def shape(value: Any) -> Shown:
        # What the engine leaves out, shows as null, or as empty, is its default.
        if value is None or value == "" or value == default:
            value = default
        return {} if value is None else {"": back(value)}

    def payload(spec: Spec, body: Body) -> None:
        if name in spec:
            (_host(body) if part == "HostConfig" else body)[key] = form(spec[name])

    def expected(spec: Spec, image: Image, engine: Engine) -> Shown:
        if name in spec and name not in engine.without:
            return shape(form(spec[name]))
        if adds:
            return {}
        return shape(image.get(key) if inherits else None)

    def observed(inspect: Mapping[str, Any]) -> Shown:
        return shape((inspect.get(part) or {}).get(key))

    return Side(payload, expected, observed, inherits=inherits, adds=adds)


def host_list(
    name: str, key: str, normal: Callable[[str], str] = str, ordered: bool = False
) -> Side:
    """A list of texts in HostConfig, null where there are none."""

    def shape(values: Any) -> Shown:
        found = [normal(value) for value in values or ()]
        return one(", ".join(found if ordered else sorted(set(found))))

    def payload(spec: Spec, body: Body) -> None:
        if spec.get(name):
            _host(body)[key] = list(spec[name])

    return Side(
        payload,
        lambda spec, image, engine: shape(spec.get(name)),
        lambda inspect: shape((inspect.get("HostConfig") or {}).get(key)),
    )


def host_map(name: str, key: str) -> Side:
    """A mapping of texts in HostConfig, null where there is none."""

    def payload(spec: Spec, body: Body) -> None:
        if spec.get(name):
            _host(body)[key] = dict(spec[name])

    return Side(
        payload,
        lambda spec, image, engine: {k: str(v) for k, v in (spec.get(name) or {}).items()},
        lambda inspect: {
            k: str(v) for k, v in ((inspect.get("HostConfig") or {}).get(key) or {}).items()
        },
    )


def resource(name: str, key: str, form: Callable[[Any], Any] = lambda v: v,
             back: Callable[[Any], str] = show) -> Side:  # fmt: skip
    """A limit that the engine changes in place; 0, empty and null are "no limit"."""
    base = host(name, key, form=form, back=back)

    def observed(inspect: Mapping[str, Any]) -> Shown:
        value = (inspect.get("HostConfig") or {}).get(key)
        return {"": back(value)} if value else {}

    def update(spec: Spec) -> Mapping[str, Any] | None:
        return {key: form(spec[name])} if spec.get(name) else None

    return Side(base.payload, base.expected, observed, update)


# --- image, command, environment -----------------------------------------------------------------


def _image_payload(spec: Spec, body: Body) -> None:
    body["Image"] = spec["image"]


IMAGE = Side(
    _image_payload,
    lambda spec, image, engine: one(spec.get("image")),
    lambda inspect: one((inspect.get("Config") or {}).get("Image")),
)


def _command_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    if "command" in spec:
        return one(show_words(spec["command"]))
    if "entrypoint" in spec:  # an entrypoint of one's own clears the image's command
        return {}
    return one(show_words(image.get("Cmd") or ()))


def _command_payload(spec: Spec, body: Body) -> None:
    if "command" in spec:
        body["Cmd"] = list(spec["command"])


COMMAND = Side(
    _command_payload,
    _command_expected,
    lambda inspect: one(show_words((inspect.get("Config") or {}).get("Cmd") or ())),
    inherits=True,
)


def _entrypoint_payload(spec: Spec, body: Body) -> None:
    if "entrypoint" in spec:
        # One empty word is how the engine is told "none"; an empty list would be "the image's".
        body["Entrypoint"] = list(spec["entrypoint"]) or [""]


def _entrypoint(words: Any) -> Shown:
    return {} if list(words or ()) == [""] else one(show_words(words or ()))


ENTRYPOINT = Side(
    _entrypoint_payload,
    lambda spec, image, engine: _entrypoint(spec.get("entrypoint", image.get("Entrypoint"))),
    lambda inspect: _entrypoint((inspect.get("Config") or {}).get("Entrypoint")),
    inherits=True,
)


def _pairs(lines: Any) -> Shown:
    return dict(line.partition("=")[::2] for line in lines or ())


def _environment_payload(spec: Spec, body: Body) -> None:
    if spec.get("environment"):
        body["Env"] = [f"{key}={value}" for key, value in sorted(spec["environment"].items())]


ENVIRONMENT = Side(
    _environment_payload,
    lambda spec, image, engine: {**_pairs(image.get("Env")), **spec.get("environment", {})},
    lambda inspect: _pairs((inspect.get("Config") or {}).get("Env")),
    inherits=True,
)


def _labels_payload(spec: Spec, body: Body) -> None:
    if spec.get("labels"):
        body.setdefault("Labels", {}).update(spec["labels"])


def _foreign_labels(labels: Any) -> Shown:
    return {k: v for k, v in (labels or {}).items() if not k.startswith("io.otto.")}


LABELS = Side(
    _labels_payload,
    lambda spec, image, engine: _foreign_labels(
        {**(image.get("Labels") or {}), **spec.get("labels", {})}
    ),
    lambda inspect: _foreign_labels((inspect.get("Config") or {}).get("Labels")),
    inherits=True,
)


# --- ports, volumes, networks --------------------------------------------------------------------


def _bindings(spec: Spec) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in spec.get("ports", ()):
        binding = {"HostIp": port["host_ip"], "HostPort": str(port["published"] or "")}
        found.setdefault(f"{port['target']}/{port['protocol']}", []).append(binding)
    return found


def _ports_payload(spec: Spec, body: Body) -> None:
    bindings = _bindings(spec)
    if bindings:
        body["ExposedPorts"] = {key: {} for key in bindings}
        _host(body)["PortBindings"] = bindings


def _ports_shape(bindings: Any) -> Shown:
    result = {}
    for key, values in (bindings or {}).items():
        found = set()
        for value in values or ():
            ip, port = value.get("HostIp") or "", value.get("HostPort") or ""
            port = "(any)" if port in ("", "0") else port
            found.add((f"[{ip}]:" if ":" in ip else f"{ip}:" if ip else "") + port)
        if found:
            result[key] = ", ".join(sorted(found))
    return result


PORTS = Side(
    _ports_payload,
    lambda spec, image, engine: _ports_shape(_bindings(spec)),
    lambda inspect: _ports_shape((inspect.get("HostConfig") or {}).get("PortBindings")),
)

ANONYMOUS = re.compile(r"[0-9a-f]{64}")
"""Name that the engine gives to a volume that has none."""


def _volumes_payload(spec: Spec, body: Body) -> None:
    binds, mounts = [], []
    for volume in spec.get("volumes", ()):
        if volume["type"] == "bind" and not volume.get("must_exist"):
            # Only this form makes a missing directory on the node, and knows SELinux labels.
            modes = ["ro" if volume["read_only"] else "rw"]
            modes += [volume[key] for key in ("selinux", "propagation") if key in volume]
            binds.append(f"{volume['source']}:{volume['target']}:{','.join(modes)}")
            continue
        mount: Body = {
            "Type": volume["type"],
            "Target": volume["target"],
            "ReadOnly": volume["read_only"],
        }
        if volume["source"] is not None:
            mount["Source"] = volume["source"]
        if volume["type"] == "bind" and "propagation" in volume:
            mount["BindOptions"] = {"Propagation": volume["propagation"]}
        if volume.get("nocopy"):
            mount["VolumeOptions"] = {"NoCopy": True}
        if volume["type"] == "tmpfs":
            options = {"SizeBytes": volume.get("size"), "Mode": volume.get("mode")}
            mount["TmpfsOptions"] = {k: v for k, v in options.items() if v is not None}
        mounts.append(mount)
    if binds:
        _host(body)["Binds"] = binds
    if mounts:
        _host(body)["Mounts"] = mounts


def _mount_text(kind: str, source: str, read_only: bool, *extra: str) -> str:
    words = [kind, source, "ro" if read_only else "", *extra]
    return " ".join(word for word in words if word)


def _tmpfs_text(size: Any, mode: Any, read_only: bool) -> str:
    limits = (f"size={show_size(size)}" if size else "", f"mode={mode:o}" if mode else "")
    return _mount_text("tmpfs", "", read_only, *limits)


def _volumes_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    taken = set(spec.get("tmpfs", {}))
    result = {
        posixpath.normpath(path): _mount_text("volume", "(anonymous)", False)
        for path in image.get("Volumes") or {}
        if posixpath.normpath(path) not in taken
    }
    for volume in spec.get("volumes", ()):
        if volume["type"] == "tmpfs":
            text = _tmpfs_text(volume.get("size"), volume.get("mode"), volume["read_only"])
        else:
            extra = [volume.get("selinux", ""), volume.get("propagation", "")]
            extra = ["" if word == "rprivate" else word for word in extra]
            source = volume["source"] or "(anonymous)"
            text = _mount_text(volume["type"], source, volume["read_only"], *extra)
        result[volume["target"]] = text
    return result


def _volumes_observed(inspect: Mapping[str, Any]) -> Shown:
    asked = {m["Target"]: m for m in (inspect.get("HostConfig") or {}).get("Mounts") or ()}
    result = {}
    for mount in inspect.get("Mounts") or ():
        target, kind = mount["Destination"], mount["Type"]
        read_only = not mount.get("RW", True)
        if kind == "tmpfs":
            options = asked.get(target, {}).get("TmpfsOptions") or {}
            read_only = bool(asked.get(target, {}).get("ReadOnly", False))
            result[target] = _tmpfs_text(options.get("SizeBytes"), options.get("Mode"), read_only)
            continue
        source = mount.get("Source", "")
        extra = []
        if kind == "volume":
            source = mount.get("Name", "")
            source = "(anonymous)" if ANONYMOUS.fullmatch(source) else source
        else:
            extra = [flag for flag in (mount.get("Mode") or "").split(",") if flag in ("z", "Z")]
            if mount.get("Propagation") not in (None, "", "rprivate"):
                extra.append(mount["Propagation"])
        result[target] = _mount_text(kind, source, read_only, *extra)
    for mount in asked.values():  # engines differ in whether Mounts tells of a tmpfs
        if mount["Type"] == "tmpfs" and mount["Target"] not in result:
            options = mount.get("TmpfsOptions") or {}
            text = _tmpfs_text(
                options.get("SizeBytes"), options.get("Mode"), mount.get("ReadOnly", False)
            )
            result[mount["Target"]] = text
    return result


VOLUMES = Side(_volumes_payload, _volumes_expected, _volumes_observed, inherits=True)


def endpoint(config: Mapping[str, Any]) -> Body:
    """EndpointConfig of one entry of `networks`."""
    result: Body = {}
    if config.get("aliases"):
        result["Aliases"] = list(config["aliases"])
    ipam = {}
    if "ipv4_address" in config:
        ipam["IPv4Address"] = config["ipv4_address"]
    if "ipv6_address" in config:
        ipam["IPv6Address"] = config["ipv6_address"]
    if ipam:
        result["IPAMConfig"] = ipam
    return result


def _networks_payload(spec: Spec, body: Body) -> None:
    names = sorted(spec.get("networks", {}))
    if names:
        _host(body)["NetworkMode"] = names[0]
        first = endpoint(spec["networks"][names[0]])
        body["NetworkingConfig"] = {"EndpointsConfig": {names[0]: first}}


def _endpoint_text(aliases: Any, ipam: Any) -> str:
    words = []
    if aliases:
        words.append("as " + ", ".join(sorted(set(aliases))))
    for key in ("IPv4Address", "IPv6Address"):
        if (ipam or {}).get(key):
            words.append(f"at {ipam[key]}")
    return " ".join(words) or "joined"


def _networks_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    result = {}
    for name, given in spec.get("networks", {}).items():
        found = endpoint(given)
        result[name] = _endpoint_text(found.get("Aliases"), found.get("IPAMConfig"))
    if not result:
        mode = spec.get("network_mode", "bridge")
        result[mode] = _endpoint_text((), None)
    return result


def _networks_observed(inspect: Mapping[str, Any]) -> Shown:
    own = {inspect.get("Id", "")[:12]}  # engines before API 1.45 add the short id by themselves
    result = {}
    for name, found in ((inspect.get("NetworkSettings") or {}).get("Networks") or {}).items():
        aliases = set((found or {}).get("Aliases") or ()) - own
        result[name] = _endpoint_text(aliases, (found or {}).get("IPAMConfig"))
    return result


NETWORKS = Side(_networks_payload, _networks_expected, _networks_observed)


def _mode_payload(spec: Spec, body: Body) -> None:
    if "network_mode" in spec:
        _host(body)["NetworkMode"] = spec["network_mode"]


def _mode_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    return one("(networks)" if spec.get("networks") else spec.get("network_mode", "bridge"))


def _mode_observed(inspect: Mapping[str, Any]) -> Shown:
    mode = (inspect.get("HostConfig") or {}).get("NetworkMode") or "default"
    if mode == "default":
        mode = "bridge"
    known = mode in ("bridge", "host", "none") or mode.startswith("container:")
    return one(mode if known else "(networks)")


NETWORK_MODE = Side(_mode_payload, _mode_expected, _mode_observed)


# --- restart, health -----------------------------------------------------------------------------

DEFAULT_RESTART = "unless-stopped"
"""Otto keeps alive; what is to run once says so with restart: "no"."""


def restart_policy(spec: Spec) -> Body:
    name, _, count = spec.get("restart", DEFAULT_RESTART).partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _restart_payload(spec: Spec, body: Body) -> None:
    _host(body)["RestartPolicy"] = restart_policy(spec)


def _restart_observed(inspect: Mapping[str, Any]) -> Shown:
    policy = (inspect.get("HostConfig") or {}).get("RestartPolicy") or {}
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    return one(f"{name}:{count}" if name == "on-failure" and count else name)


RESTART = Side(
    _restart_payload,
    lambda spec, image, engine: one(spec.get("restart", DEFAULT_RESTART)),
    _restart_observed,
    lambda spec: {"RestartPolicy": restart_policy(spec)},
)

_HEALTH_KEYS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
    "retries": "Retries",
}


def _health_config(spec: Spec) -> Body:
    given = spec.get("healthcheck", {})
    result: Body = {"Test": list(given["test"])} if "test" in given else {}
    result.update({_HEALTH_KEYS[key]: given[key] for key in _HEALTH_KEYS if key in given})
    return result


def _health_payload(spec: Spec, body: Body) -> None:
    if spec.get("healthcheck"):
        body["Healthcheck"] = _health_config(spec)


def _health_shape(found: Any, engine: Engine | None = None) -> Shown:
    test = list((found or {}).get("Test") or ())
    if not test:
        return {}
    if test == ["NONE"]:
        return {"test": "none"}
    result = {"test": show_words(test)}
    for key, engine_key in _HEALTH_KEYS.items():
        value = found.get(engine_key)
        if key == "start_interval" and engine is not None and not api_at_least(engine, 1, 44):
            continue  # older engines drop it
        if value:
            result[key] = str(value) if key == "retries" else show_duration(value)
    return result


def effective_health(spec: Spec, image: Image) -> Body:
    """The healthcheck as the engine merges it: what the spec leaves out comes from the image."""
    inherited = image.get("Healthcheck") or {}
    own = _health_config(spec)
    return {**{k: v for k, v in inherited.items() if v}, **{k: v for k, v in own.items() if v}}


HEALTHCHECK = Side(
    _health_payload,
    lambda spec, image, engine: _health_shape(effective_health(spec, image), engine),
    lambda inspect: _health_shape((inspect.get("Config") or {}).get("Healthcheck")),
    inherits=True,
)


# --- the others ----------------------------------------------------------------------------------


def _hostname_observed(inspect: Mapping[str, Any]) -> Shown:
    name = (inspect.get("Config") or {}).get("Hostname") or ""
    return one("" if name == inspect.get("Id", "")[:12] else name)


# On the node's own network the engine gives the node's name: that is an addition of its own.
_HOSTNAME = config("hostname", "Hostname")
HOSTNAME = Side(_HOSTNAME.payload, _HOSTNAME.expected, _hostname_observed, adds=True)


def _memory_update(spec: Spec) -> Mapping[str, Any] | None:
    if not spec.get("mem_limit"):
        return None
    # The engine refuses a limit above the swap limit that stands: both go together.
    swap = spec.get("memswap_limit", 2 * spec["mem_limit"])
    return {"Memory": spec["mem_limit"], "MemorySwap": swap}


_MEMORY = resource("mem_limit", "Memory", back=show_size)
MEM_LIMIT = Side(_MEMORY.payload, _MEMORY.expected, _MEMORY.observed, _memory_update)

MEMSWAP_LIMIT = host("memswap_limit", "MemorySwap", 0, back=show_size, adds=True)


def _pids_shape(value: Any) -> Shown:
    return {"": str(value)} if value and value > 0 else {}


def _pids_payload(spec: Spec, body: Body) -> None:
    if "pids_limit" in spec:
        _host(body)["PidsLimit"] = spec["pids_limit"]


PIDS_LIMIT = Side(
    _pids_payload,
    lambda spec, image, engine: (
        {} if "pids_limit" in engine.without else _pids_shape(spec.get("pids_limit"))
    ),
    lambda inspect: _pids_shape((inspect.get("HostConfig") or {}).get("PidsLimit")),
    lambda spec: {"PidsLimit": spec.get("pids_limit") or -1},
)

_SECURITY = host_list("security_opt", "SecurityOpt", normal_security_opt)


def _security_observed(inspect: Mapping[str, Any]) -> Shown:
    found = (inspect.get("HostConfig") or {}).get("SecurityOpt") or ()
    options = {normal_security_opt(option) for option in found}
    return dict.fromkeys(options, "set")


# The engine adds label=disable to privileged containers and to those in the node's namespaces.
SECURITY_OPT = Side(
    _SECURITY.payload,
    lambda spec, image, engine: dict.fromkeys(spec.get("security_opt", ()), "set"),
    _security_observed,
    adds=True,
)


def _init_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    return one(spec.get("init"))


INIT = Side(
    host("init", "Init").payload,
    _init_expected,
    lambda inspect: one((inspect.get("HostConfig") or {}).get("Init")),
)


def _devices_payload(spec: Spec, body: Body) -> None:
    parts = [device.split(":") for device in spec.get("devices", ())]
    if parts:
        _host(body)["Devices"] = [
            {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode}
            for source, target, mode in parts
        ]


def _devices_observed(inspect: Mapping[str, Any]) -> Shown:
    result = {}
    for device in (inspect.get("HostConfig") or {}).get("Devices") or ():
        mode = "".join(c for c in "rwm" if c in (device.get("CgroupPermissions") or "rwm"))
        result[device["PathInContainer"]] = f"{device['PathOnHost']} {mode}"
    return result


def _devices_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    parts = [device.split(":") for device in spec.get("devices", ())]
    return {target: f"{source} {mode}" for source, target, mode in parts}


DEVICES = Side(_devices_payload, _devices_expected, _devices_observed)


def _ulimits_payload(spec: Spec, body: Body) -> None:
    if spec.get("ulimits"):
        _host(body)["Ulimits"] = [
            {"Name": name, "Soft": value["soft"], "Hard": value["hard"]}
            for name, value in sorted(spec["ulimits"].items())
        ]


ULIMITS = Side(
    _ulimits_payload,
    lambda spec, image, engine: {
        name: f"{value['soft']}:{value['hard']}" for name, value in spec.get("ulimits", {}).items()
    },
    lambda inspect: {
        limit["Name"]: f"{limit['Soft']}:{limit['Hard']}"
        for limit in (inspect.get("HostConfig") or {}).get("Ulimits") or ()
    },
    adds=True,
)


def _logging_payload(spec: Spec, body: Body) -> None:
    if "logging" in spec:
        given = spec["logging"]
        _host(body)["LogConfig"] = {"Type": given["driver"], "Config": dict(given["options"])}


def _log_shape(driver: str | None, options: Mapping[str, str] | None) -> Shown:
    shown = {"driver": driver} if driver else {}
    return {**shown, **{f"options.{key}": str(value) for key, value in (options or {}).items()}}


def _logging_observed(inspect: Mapping[str, Any]) -> Shown:
    found = (inspect.get("HostConfig") or {}).get("LogConfig") or {}
    return _log_shape(found.get("Type"), found.get("Config"))


LOGGING = Side(
    _logging_payload,
    lambda spec, image, engine: _log_shape(
        spec.get("logging", {}).get("driver"), spec.get("logging", {}).get("options")
    ),
    _logging_observed,
    adds=True,
)

GRACE = config("stop_grace_period", "StopTimeout", form=seconds, back=lambda v: f"{v}s")

PLAN_ONLY = Side(lambda spec, body: None, lambda spec, image, engine: {}, lambda inspect: {})
"""An option that no container shows: the plan alone uses it."""
