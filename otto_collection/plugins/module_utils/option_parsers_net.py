# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written of ports, networks and names -> its canonical shape. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from .option_text import (
    At,
    Parser,
    integer,
    keyed,
    matching,
    one_of,
    plain,
    refused,
    string_set,
    strings,
    text,
    texts,
)

# --- ports ---------------------------------------------------------------------------------------

_PORT_RANGE = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
_PORT = re.compile(
    rf"(?:(?:\[(?P<ip6>[^\]]*)\]|(?P<ip>[^:\[\]]*)):)?"
    rf"(?:(?P<published>{_PORT_RANGE})?:)?"
    rf"(?P<target>{_PORT_RANGE})(?:/(?P<protocol>[a-z]+))?"
)
_PORT_HELP = "8080:80, 127.0.0.1:8080:80, 8000-8002:80-82, 53:53/udp or 80"


def _port_range(value: str, at: At) -> list[int] | None:
    first, _, last = value.partition("-")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535:
        at.problem("has a port out of range", found=value, expected="1 to 65535")
        return None
    return list(range(low, high + 1))


def _port_entry(
    published: str, target: str, ip: str, protocol: str, at: At
) -> list[dict[str, Any]]:
    if protocol not in ("tcp", "udp", "sctp"):
        at.problem("has an unknown protocol", found=protocol, expected="tcp, udp or sctp")
        return []
    if ip:
        try:
            ip = str(ipaddress.ip_address(ip))
        except ValueError:
            at.problem("has no valid host address", found=ip, expected="an IP address of the node")
            return []
    if published.strip("0") == "":
        published = ""  # any free one
    targets = _port_range(target, at)
    publishes = _port_range(published, at) if published else None
    if targets is None or (published and publishes is None):
        return []
    if publishes is not None and len(publishes) != len(targets):
        at.problem(
            "has ranges of different length",
            found=f"{published}:{target}",
            expected="as many published ports as container ports",
        )
        return []
    return [
        {
            "target": port,
            "published": publishes[i] if publishes else None,
            "host_ip": ip,
            "protocol": protocol,
        }
        for i, port in enumerate(targets)
    ]


def _port_short(raw: Any, at: At) -> list[dict[str, Any]]:
    value = plain(raw)
    match = _PORT.fullmatch(value.strip().lower()) if value is not None else None
    if match is None or isinstance(raw, bool):
        at.problem("is no port", found=raw, expected=_PORT_HELP)
        return []
    ip = match.group("ip6") or match.group("ip") or ""
    published = match.group("published") or ""
    if ip and not published and match.group("ip") and re.fullmatch(_PORT_RANGE, ip):
        ip, published = "", ip  # "8080:80": the first group has taken what stands before the colon
    return _port_entry(published, match.group("target"), ip, match.group("protocol") or "tcp", at)


_PORT_LONG = keyed(
    {
        "target": matching(_PORT_RANGE, "a port of the container"),
        "published": matching(_PORT_RANGE, "a port of the node"),
        "host_ip": text,
        "protocol": text,
        "mode": one_of("host", "ingress"),
        "name": text,
        "app_protocol": text,
    },
    required=("target",),
)


def ports(raw: Any, at: At) -> list[dict[str, Any]] | None:
    items = raw if isinstance(raw, list) else [raw]
    found: list[dict[str, Any]] = []
    for i, item in enumerate(items):
        where = at.sub(i) if isinstance(raw, list) else at
        if isinstance(item, Mapping):
            long = _PORT_LONG(item, where)
            if long is None or "target" not in long:
                continue
            ip, protocol = long.get("host_ip", "").strip("[]"), long.get("protocol", "tcp")
            entries = _port_entry(long.get("published", ""), long["target"], ip, protocol, where)
        else:
            entries = _port_short(item, where)
        for entry in entries:
            taken = [
                other
                for other in found
                if entry["published"] is not None
                and other["published"] == entry["published"]
                and other["protocol"] == entry["protocol"]
                and (
                    other["host_ip"] == entry["host_ip"]
                    or "" in (other["host_ip"], entry["host_ip"])
                )
            ]
            if entry in found:
                continue
            if taken:
                where.problem("publishes a port of the node twice", found=item)
            found.append(entry)
    found.sort(key=lambda e: (e["target"], e["protocol"], e["host_ip"], e["published"] or 0))
    return found


# --- networks ------------------------------------------------------------------------------------


def _ip(version: int) -> Parser:
    def parse(raw: Any, at: At) -> str | None:
        try:
            address = ipaddress.ip_address((plain(raw) or "").strip())
        except ValueError:
            address = None
        if address is None or address.version != version:
            at.problem("is no address", found=raw, expected=f"an IPv{version} address")
            return None
        return str(address)

    return parse


def _addresses(raw: Any, at: At) -> list[str]:
    found = []
    for i, item in enumerate(strings(raw, at) or ()):
        try:
            found.append(str(ipaddress.ip_address(item)))
        except ValueError:
            at.sub(i).problem("is no address", found=item, expected="an IP address")
    return sorted(found)


_NEW_ENGINE = "needs Docker 28, and Otto writes for 20.10 and later"
_NETWORK = keyed(
    {
        "aliases": string_set,
        "ipv4_address": _ip(4),
        "ipv6_address": _ip(6),
        "link_local_ips": _addresses,
        "driver_opts": texts,
        "priority": integer(-(2**31), 2**31),
        "mac_address": refused("is told by the service", "mac_address: of the service itself"),
        "gw_priority": refused(_NEW_ENGINE, "priority: says which network is the first"),
        "interface_name": refused(_NEW_ENGINE, "leave it out"),
    }
)


def networks(raw: Any, at: At) -> dict[str, dict[str, Any]] | None:
    """key -> {"aliases"?, "ipv4_address"?, "ipv6_address"?, "link_local_ips"?, "driver_opts"?,
    "priority"?}."""
    if isinstance(raw, Mapping):
        result: dict[str, dict[str, Any]] = {}
        for key, value in raw.items():
            found = {} if value is None else _NETWORK(value, at.sub(str(key)))
            if found is not None:
                result[str(key)] = found
    else:
        result = {name: {} for name in string_set(raw, at) or ()}
    if not result:
        at.problem("names no network", found=raw, hint="leave it out, or use network_mode: none")
        return None
    return result


def joining(*choices: str, hint: str = "") -> Parser:
    """One of these, or service:NAME, container:NAME for the namespace of another container."""

    def parse(raw: Any, at: At) -> str | None:
        value = (plain(raw) or "").strip()
        if re.fullmatch("(service|container):[a-zA-Z0-9][a-zA-Z0-9_.-]*", value):
            return value
        known = (*choices, "service:NAME", "container:NAME")
        found: str | None = one_of(*known, hint=hint)(raw, at)
        if found in known[-2:]:
            at.problem("is not valid", found=raw, expected="a name")
            return None
        return found

    return parse


def extra_hosts(raw: Any, at: At) -> list[str] | None:
    """Sorted "name:address"."""
    found: set[str] = set()
    if isinstance(raw, Mapping):
        entries = [
            (str(name), address, at.sub(str(name)))
            for name, value in raw.items()
            for address in (value if isinstance(value, list) else [value])
        ]
    else:
        entries = []
        for i, line in enumerate(strings(raw, at) or ()):
            name, _, address = line.partition("=" if "=" in line else ":")
            entries.append((name, address, at.sub(i) if isinstance(raw, list) else at))
    for name, address, where in entries:
        value = (plain(address) or "").strip().strip("[]")
        if value != "host-gateway":
            try:
                value = str(ipaddress.ip_address(value))
            except ValueError:
                value = ""
        if not value or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            where.problem("is no host", found=f"{name}:{address}", expected="name:address")
            continue
        found.add(f"{name}:{value}")
    return sorted(found)


def expose(raw: Any, at: At) -> list[str] | None:
    """Sorted "port/protocol"."""
    found: set[str] = set()
    for i, item in enumerate(raw if isinstance(raw, list) else [raw]):
        where = at.sub(i) if isinstance(raw, list) else at
        value = (plain(item) or "").strip().lower()
        match = re.fullmatch(rf"({_PORT_RANGE})(?:/(tcp|udp|sctp))?", value)
        if match is None:
            where.problem("is no port", found=item, expected="80, 8000-8010 or 53/udp")
            continue
        for port in _port_range(match.group(1), where) or ():
            found.add(f"{port}/{match.group(2) or 'tcp'}")
    return sorted(found)


def links(raw: Any, at: At) -> list[str] | None:
    """Sorted "service:alias"."""
    found = set()
    for i, item in enumerate(strings(raw, at) or ()):
        service, _, alias = item.partition(":")
        if not service or ":" in alias:
            at.sub(i).problem("is no link", found=item, expected="SERVICE or SERVICE:ALIAS")
            continue
        found.add(f"{service}:{alias or service}")
    return sorted(found)


def mac_address(raw: Any, at: At) -> str | None:
    """Lower case, with colons."""
    value = (plain(raw) or "").strip().lower().replace("-", ":")
    if not re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", value):
        at.problem("is no MAC address", found=raw, expected="such as 02:42:ac:11:00:02")
        return None
    if int(value[:2], 16) & 1:
        at.problem("is an address of a group", found=raw, expected="an even first byte: 02")
        return None
    return value
