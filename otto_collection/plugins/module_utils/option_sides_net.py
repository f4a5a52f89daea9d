# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports and networks as the engine shows them. Pure."""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Engine, Spec
from .option_engine import Body, Image, Shown, Side, host_part, namespace, one, shown_host


def _bindings(spec: Spec) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in spec.get("ports", ()):
        binding = {"HostIp": port["host_ip"], "HostPort": str(port["published"] or "")}
        found.setdefault(f"{port['target']}/{port['protocol']}", []).append(binding)
    return found


def _ports_payload(spec: Spec, body: Body) -> None:
    bindings = _bindings(spec)
    if bindings:
        body.setdefault("ExposedPorts", {}).update({key: {} for key in bindings})
        host_part(body)["PortBindings"] = bindings


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


def _expose_payload(spec: Spec, body: Body) -> None:
    if spec.get("expose"):
        body.setdefault("ExposedPorts", {}).update({key: {} for key in spec["expose"]})


def _exposed(ports: Any, published: Any) -> Shown:
    return dict.fromkeys(sorted(set(ports) - set(published or ())), "exposed")


# What is published is exposed as well, and told as `ports`.
EXPOSE = Side(
    _expose_payload,
    lambda spec, image, engine: _exposed(
        {*(image.get("ExposedPorts") or ()), *spec.get("expose", ())}, _bindings(spec)
    ),
    lambda inspect: _exposed(
        (inspect.get("Config") or {}).get("ExposedPorts") or (),
        shown_host(inspect).get("PortBindings"),
    ),
    inherits=True,
)


def endpoint(config: Mapping[str, Any]) -> Body:
    """EndpointConfig of one entry of `networks`."""
    result: Body = {}
    if config.get("aliases"):
        result["Aliases"] = list(config["aliases"])
    ipam: Body = {}
    if "ipv4_address" in config:
        ipam["IPv4Address"] = config["ipv4_address"]
    if "ipv6_address" in config:
        ipam["IPv6Address"] = config["ipv6_address"]
    if config.get("link_local_ips"):
        ipam["LinkLocalIPs"] = list(config["link_local_ips"])
    if ipam:
        result["IPAMConfig"] = ipam
    if config.get("links"):
        result["Links"] = list(config["links"])
    if config.get("driver_opts"):
        result["DriverOpts"] = dict(config["driver_opts"])
    return result


def in_order(networks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names in the order in which a container joins them: by priority, then by name."""
    return sorted(networks, key=lambda name: (-networks[name].get("priority", 0), name))


def _networks_payload(spec: Spec, body: Body) -> None:
    names = in_order(spec.get("networks", {}))
    if names:
        host_part(body)["NetworkMode"] = names[0]
        first = endpoint(spec["networks"][names[0]])
        if "mac_address" in spec:
            first["MacAddress"] = spec["mac_address"]
        body["NetworkingConfig"] = {"EndpointsConfig": {names[0]: first}}


def _endpoint_text(found: Mapping[str, Any], own: str = "") -> str:
    """own: the short id, which engines before API 1.45 add to the aliases by themselves."""
    words = []
    aliases = set(found.get("Aliases") or ()) - {own}
    if aliases:
        words.append("as " + ", ".join(sorted(aliases)))
    ipam = found.get("IPAMConfig") or {}
    for key in ("IPv4Address", "IPv6Address"):
        if ipam.get(key):
            words.append(f"at {ipam[key]}")
    if ipam.get("LinkLocalIPs"):
        words.append("at " + ", ".join(sorted(ipam["LinkLocalIPs"])))
    if found.get("Links"):
        words.append("linked to " + ", ".join(sorted(found["Links"])))
    words += [f"{key}={value}" for key, value in sorted((found.get("DriverOpts") or {}).items())]
    return " ".join(words) or "joined"


def _networks_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    result = {}
    for name, given in spec.get("networks", {}).items():
        result[name] = _endpoint_text(endpoint(given))
    if not result and not namespace(spec.get("network_mode", "")).startswith("container:"):
        result[spec.get("network_mode", "bridge")] = _endpoint_text({})
    return result


def _networks_observed(inspect: Mapping[str, Any]) -> Shown:
    own = inspect.get("Id", "")[:12]
    result = {}
    for name, found in ((inspect.get("NetworkSettings") or {}).get("Networks") or {}).items():
        result[name] = _endpoint_text(found or {}, own)
    return result


NETWORKS = Side(_networks_payload, _networks_expected, _networks_observed)


def _mac_payload(spec: Spec, body: Body) -> None:
    if "mac_address" in spec:  # and on the network, where newer engines look
        body["MacAddress"] = spec["mac_address"]


def _mac_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    shows = tuple(int(part) for part in (engine.api_version or "0").split(".")) < _NO_MAC
    return one(spec.get("mac_address")) if shows else {}


_NO_MAC = (1, 52)
"""API from which on the engine does not say which address was asked for."""

MAC_ADDRESS = Side(
    _mac_payload,
    _mac_expected,
    lambda inspect: one((inspect.get("Config") or {}).get("MacAddress")),
)


def _mode_payload(spec: Spec, body: Body) -> None:
    if "network_mode" in spec:
        host_part(body)["NetworkMode"] = namespace(spec["network_mode"])


def _mode_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    mode = namespace(spec.get("network_mode", "bridge"))
    return one("(networks)" if spec.get("networks") else mode)


def _mode_observed(inspect: Mapping[str, Any]) -> Shown:
    mode = (inspect.get("HostConfig") or {}).get("NetworkMode") or "default"
    if mode == "default":
        mode = "bridge"
    known = mode in ("bridge", "host", "none") or mode.startswith("container:")
    return one(mode if known else "(networks)")


NETWORK_MODE = Side(_mode_payload, _mode_expected, _mode_observed)
