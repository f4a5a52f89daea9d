# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container runs, as the engine shows it. Pure."""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .model import Engine, Spec
from .option_engine import (
    Body,
    Image,
    Shown,
    Side,
    always,
    api_at_least,
    config,
    host,
    host_list,
    host_part,
    namespace,
    one,
    show_duration,
    show_words,
    shown_host,
)
from .option_parsers import normal_security_opt
from .option_text import seconds

# --- restart, health -----------------------------------------------------------------------------

DEFAULT_RESTART = "unless-stopped"
"""Otto keeps alive; what is to run once says so with restart: "no"."""


def restart_policy(spec: Spec) -> Body:
    name, _, count = spec.get("restart", DEFAULT_RESTART).partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _restart_payload(spec: Spec, body: Body) -> None:
    host_part(body)["RestartPolicy"] = restart_policy(spec)


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


def _name_of_network(key: str, inspect: Mapping[str, Any]) -> bool:
    """On a network that is not its own, the engine gives it that one's name."""
    return str(shown_host(inspect).get("NetworkMode")).startswith(("host", "container:"))


_HOSTNAME = config("hostname", "Hostname")
HOSTNAME = replace(_HOSTNAME, observed=_hostname_observed, adds=_name_of_network)


def _ipc_by_itself(key: str, inspect: Mapping[str, Any]) -> bool:
    """The daemon's own setting knows only these two."""
    return shown_host(inspect).get("IpcMode") in (None, "", "private", "shareable")


IPC = host("ipc", "IpcMode", form=namespace, adds=_ipc_by_itself)

_CGROUP = host("cgroup", "CgroupnsMode", adds=always)


def _cgroup_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    if spec.get("privileged") and "cgroup" not in spec and engine.cgroup_version == "1":
        return {"": "host"} if "cgroup" in engine.defaults else {}
    return _CGROUP.expected(spec, image, engine)


CGROUP = replace(_CGROUP, expected=_cgroup_expected)

RUNTIME = host("runtime", "Runtime", adds=always)


SYSTEMPATHS = "systempaths=unconfined"
_SECURITY = host_list("security_opt", "SecurityOpt", normal_security_opt)


def _security_observed(inspect: Mapping[str, Any]) -> Shown:
    found = (inspect.get("HostConfig") or {}).get("SecurityOpt") or ()
    options = {normal_security_opt(option) for option in found}
    host = inspect.get("HostConfig") or {}
    if host.get("MaskedPaths") == [] and host.get("ReadonlyPaths") == []:
        options.add(SYSTEMPATHS)
    return dict.fromkeys(options, "set")


# The engine adds label=disable to privileged containers and to those in the node's namespaces.
def _security_payload(spec: Spec, body: Body) -> None:
    _SECURITY.payload(spec, body)
    options = host_part(body).get("SecurityOpt") or []
    if SYSTEMPATHS in options:  # the engine knows it only as what it stands for
        options.remove(SYSTEMPATHS)
        host_part(body).update({"MaskedPaths": [], "ReadonlyPaths": []})


SECURITY_OPT = Side(
    _security_payload,
    lambda spec, image, engine: dict.fromkeys(spec.get("security_opt", ()), "set"),
    _security_observed,
    adds=lambda key, inspect: key.startswith("label="),
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
        host_part(body)["Devices"] = [
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
        host_part(body)["Ulimits"] = [
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
    adds=always,
)


def _logging_payload(spec: Spec, body: Body) -> None:
    if "logging" in spec:
        given = spec["logging"]
        host_part(body)["LogConfig"] = {"Type": given["driver"], "Config": dict(given["options"])}


def _log_shape(driver: str | None, options: Mapping[str, str] | None) -> Shown:
    shown = {"driver": driver} if driver else {}
    return {**shown, **{f"options.{key}": str(value) for key, value in (options or {}).items()}}


def _logging_observed(inspect: Mapping[str, Any]) -> Shown:
    found = (inspect.get("HostConfig") or {}).get("LogConfig") or {}
    return _log_shape(found.get("Type"), found.get("Config"))


LOGGING = Side(
    _logging_payload,
    lambda spec, image, engine: _log_shape(
        spec.get("logging", {}).get("driver") or engine.defaults.get("logging"),
        spec.get("logging", {}).get("options"),
    ),
    _logging_observed,
    adds=always,
)

GRACE = config("stop_grace_period", "StopTimeout", form=seconds, back=lambda v: f"{v}s")


def _gpus_payload(spec: Spec, body: Body) -> None:
    if spec.get("gpus"):
        host_part(body)["DeviceRequests"] = [
            {
                "Driver": request["driver"],
                "Count": request["count"],
                "DeviceIDs": list(request["device_ids"]) or None,
                "Capabilities": [list(request["capabilities"])],
                "Options": dict(request["options"]),
            }
            for request in spec["gpus"]
        ]


def _request_text(found: Mapping[str, Any]) -> str:
    ids, count = found.get("DeviceIDs") or (), found.get("Count") or 0
    number = ",".join(sorted(ids)) if ids else "all" if count == -1 else str(count)
    kinds = sorted(
        {"+".join(sorted(set(group))) for group in found.get("Capabilities") or ()} - {""}
    )
    options = [f"{key}={value}" for key, value in sorted((found.get("Options") or {}).items())]
    return " ".join([found.get("Driver") or "(any driver)", number, *kinds, *options])


def _requests_shape(requests: Any) -> Shown:
    return one("; ".join(sorted(_request_text(request) for request in requests or ())))


def _gpus_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    body: Body = {}
    _gpus_payload(spec, body)
    return _requests_shape(body.get("HostConfig", {}).get("DeviceRequests"))


GPUS = Side(
    _gpus_payload,
    _gpus_expected,
    lambda inspect: _requests_shape((inspect.get("HostConfig") or {}).get("DeviceRequests")),
)
