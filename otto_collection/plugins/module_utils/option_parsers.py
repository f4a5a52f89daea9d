# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person may write for each option of a service, turned into its one canonical shape. Pure.

Every parser has the shape `parse(raw, at) -> value | None`; None means "as if it were not written".
What is wrong goes to `at.problem(...)`, and the parser goes on with the rest. The shapes that come
out are those of docs/architecture.md.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

from .errors import nearest
from .option_text import (
    At,
    Parser,
    boolean,
    duration,
    integer,
    keyed,
    matching,
    one_of,
    pairs,
    plain,
    size,
    string_set,
    strings,
    text,
)

# --- commands, variables, labels -----------------------------------------------------------------


def words(raw: Any, at: At) -> list[str] | None:
    """A command: a list as it is, or text that is split as a shell splits it (no shell runs)."""
    if isinstance(raw, list):
        values = [plain(item) for item in raw]
        for i, value in enumerate(values):
            if value is None:
                at.sub(i).problem("is no text", found=raw[i], expected="one word of the command")
        return [value for value in values if value is not None]
    value = plain(raw)
    if value is None:
        at.problem("is no command", found=raw, expected="text or a list of words")
        return None
    try:
        return shlex.split(value)
    except ValueError as error:
        at.problem(f"cannot be split into words: {error}", found=raw, hint="close the quotation")
        return None


def command(raw: Any, at: At) -> list[str] | None:
    value = words(raw, at)
    if value == []:
        at.problem(
            "is empty",
            found=raw,
            expected="a command",
            hint="leave it out for the image's own; an entrypoint of your own clears it",
        )
        return None
    return value


def environment(raw: Any, at: At) -> dict[str, str] | None:
    result: dict[str, str] = {}
    for key, (value, where) in pairs(raw, at, "KEY").items():
        if not key or set(key) & set("=\0 \t\r\n"):
            where.problem("is no name of a variable", found=key, expected="KEY=value")
            continue
        if value is None:
            # Named without a value: taken from where otto runs; unset there, it is not set here.
            if key in at.environ:
                result[key] = at.environ[key]
            continue
        content = plain(value)
        if content is None or "\0" in content:
            where.problem("is no text", found=value, expected="text, a number, true or false")
            continue
        result[key] = content
    return result


def labels(raw: Any, at: At) -> dict[str, str] | None:
    result: dict[str, str] = {}
    for key, (value, where) in pairs(raw, at, "label").items():
        if not key.strip():
            where.problem("is no name of a label", found=key, expected="label=value")
        elif key.startswith("io.otto."):
            where.problem("is Otto's own label", found=key, hint="use a name of your own")
        else:
            content = "" if value is None else plain(value)
            if content is None:
                where.problem("is no text", found=value, expected="text, a number, true or false")
            else:
                result[key] = content
    return result


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


# --- volumes -------------------------------------------------------------------------------------

_VOLUME_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
_ON_NODE = "paths are on the node: write an absolute one such as /srv/data"


def _container_path(raw: Any, at: At) -> str | None:
    value = (plain(raw) or "").strip()
    if not value.startswith("/") or posixpath.normpath(value) in ("/", "//") or ":" in value:
        at.problem("is no path in the container", found=raw, expected="an absolute path, not /")
        return None
    return _clean(value)


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _bind_source(raw: Any, at: At) -> str | None:
    value = (plain(raw) or "").strip()
    if not value.startswith("/"):
        at.problem("is a relative path", found=raw, expected="an absolute path", hint=_ON_NODE)
        return None
    if ":" in value:
        at.problem("has a colon in its path", found=raw, expected="a path without a colon")
        return None
    return _clean(value)


_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def _volume_short(raw: Any, at: At) -> dict[str, Any] | None:
    value = (plain(raw) or "").strip()
    parts = value.split(":")
    if not value or len(parts) > 3 or isinstance(raw, bool):
        at.problem("is no volume", found=raw, expected="/srv/data:/data, data:/data:ro or /data")
        return None
    if len(parts) == 1:
        target = _container_path(parts[0], at)
        if target is None:
            return None
        return {"type": "volume", "source": None, "target": target, "read_only": False}
    source: str | None = parts[0]
    if parts[0].startswith("/") or parts[0][:1] in (".", "~") or "/" in parts[0]:
        kind = "bind"
        source = _bind_source(parts[0], at)
    else:
        kind = "volume"
        if not re.fullmatch(_VOLUME_NAME, parts[0]):
            at.problem("is no name of a volume", found=parts[0], expected="a name or absolute path")
            source = None
    target = _container_path(parts[1], at)
    if source is None or target is None:
        return None
    result = {"type": kind, "source": source, "target": target, "read_only": False}
    for mode in parts[2].split(",") if len(parts) == 3 else ():
        if mode in ("ro", "rw"):
            result["read_only"] = mode == "ro"
        elif mode in ("z", "Z") and kind == "bind":
            result["selinux"] = mode
        elif mode in _PROPAGATION and kind == "bind":
            result["propagation"] = mode
        elif mode == "nocopy" and kind == "volume":
            result["nocopy"] = True
        else:
            known = "ro, rw, z, Z" if kind == "bind" else "ro, rw, nocopy"
            at.problem("has an unknown mode", found=mode, expected=known)
            return None
    return result


_VOLUME_LONG = keyed(
    {
        "type": one_of("bind", "volume", "tmpfs"),
        "source": text,
        "target": _container_path,
        "read_only": boolean,
        "bind": keyed(
            {
                "propagation": one_of(*_PROPAGATION),
                "create_host_path": boolean,
                "selinux": one_of("z", "Z"),
            }
        ),
        "volume": keyed({"nocopy": boolean}),
        "tmpfs": keyed({"size": size, "mode": matching(r"0?[0-7]{3,4}", "an octal mode: 1777")}),
    },
    required=("type", "target"),
)


def _volume_long(raw: Mapping[str, Any], at: At) -> dict[str, Any] | None:
    found = _VOLUME_LONG(raw, at)
    if found is None or "type" not in found or "target" not in found:
        return None
    kind = found["type"]
    for other in ("bind", "volume", "tmpfs"):
        if other in found and other != kind:
            at.sub(other).problem(
                f"does not belong to a {kind}", hint=f"remove it, or type: {other}"
            )
    result = {
        "type": kind,
        "source": found.get("source"),
        "target": found["target"],
        "read_only": found.get("read_only", False),
    }
    options = found.get(kind, {})
    if kind == "bind":
        if "source" not in found:
            at.problem("is a bind without a source", found=raw, expected="source: /path/on/node")
            return None
        result["source"] = _bind_source(found["source"], at.sub("source"))
        if result["source"] is None:
            return None
        if options.get("create_host_path") is False:
            result["must_exist"] = True
        result.update({key: options[key] for key in ("selinux", "propagation") if key in options})
    elif kind == "volume":
        source = found.get("source")
        if source is not None and not re.fullmatch(_VOLUME_NAME, source):
            at.sub("source").problem("is no name of a volume", found=source, hint="or type: bind")
            return None
        if options.get("nocopy"):
            result["nocopy"] = True
    else:
        if "source" in found:
            at.sub("source").problem("does not belong to a tmpfs", found=found["source"])
        result["source"] = None
        result.update(options)
        if "mode" in result:
            result["mode"] = int(result["mode"], 8)
    return result


def volumes(raw: Any, at: At) -> list[dict[str, Any]] | None:
    if not isinstance(raw, list):
        at.problem("is not valid", found=raw, expected="a list of volumes")
        return None
    found: dict[str, dict[str, Any]] = {}
    for i, item in enumerate(raw):
        where = at.sub(i)
        mount = (
            _volume_long(item, where) if isinstance(item, Mapping) else _volume_short(item, where)
        )
        if mount is None:
            continue
        if mount["target"] in found:
            where.problem("mounts at a path that is taken", found=mount["target"])
        found[mount["target"]] = mount
    return [found[target] for target in sorted(found)]


def tmpfs(raw: Any, at: At) -> dict[str, str] | None:
    """path -> mount options ("" for the engine's own)."""
    result: dict[str, str] = {}
    for i, line in enumerate(strings(raw, at) or ()):
        path, _, options = line.partition(":")
        target = _container_path(path, at.sub(i) if isinstance(raw, list) else at)
        if target is not None:
            result[target] = options
    return result


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


_NETWORK = keyed({"aliases": string_set, "ipv4_address": _ip(4), "ipv6_address": _ip(6)})


def networks(raw: Any, at: At) -> dict[str, dict[str, Any]] | None:
    """key -> {"aliases"?, "ipv4_address"?, "ipv6_address"?}."""
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


def network_mode(raw: Any, at: At) -> str | None:
    value = (plain(raw) or "").strip()
    if value.startswith(("service:", "container:")):
        hint = "put both services on one network, they find each other by name"
        at.problem("is not supported yet", found=raw, expected="bridge, host or none", hint=hint)
        return None
    found: str | None = one_of("bridge", "host", "none", hint="other networks: networks:")(raw, at)
    return found


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


# --- the others ----------------------------------------------------------------------------------


def restart(raw: Any, at: At) -> str | None:
    value = plain(raw)
    if isinstance(raw, bool) and not raw:
        value = "no"  # what YAML 1.1 makes of `restart: no`, when Ansible reads it
    value = (value or "").strip()
    match = re.fullmatch(r"(no|always|unless-stopped)|on-failure(?::([0-9]+))?", value)
    if match is None:
        choices = "no, always, unless-stopped, on-failure or on-failure:3"
        near = nearest(value, ("always", "unless-stopped", "on-failure"))
        at.problem("is no restart policy", found=raw, expected=choices, nearest=near)
        return None
    if match.group(1):
        return match.group(1)
    return f"on-failure:{int(match.group(2))}" if int(match.group(2) or 0) else "on-failure"


def _health_test(raw: Any, at: At) -> list[str] | None:
    if isinstance(raw, list):
        test = [plain(item) or "" for item in raw]
        if test[:1] == ["NONE"] and len(test) == 1:
            return test
        if test[:1] in (["CMD"], ["CMD-SHELL"]) and len(test) > 1:
            return test
        expected = "a list that begins with CMD, CMD-SHELL or NONE"
        at.problem("is no health test", found=raw, expected=expected)
        return None
    value = plain(raw)
    if value is None or not value.strip():
        at.problem("is no health test", found=raw, expected="a command, or a list [CMD, ...]")
        return None
    return ["CMD-SHELL", value]


_HEALTH = keyed(
    {
        "test": _health_test,
        "interval": duration,
        "timeout": duration,
        "start_period": duration,
        "start_interval": duration,
        "retries": integer(1, 10**6),
        "disable": boolean,
    }
)


def healthcheck(raw: Any, at: At) -> dict[str, Any] | None:
    found: dict[str, Any] | None = _HEALTH(raw, at)
    if found is None:
        return None
    if found.pop("disable", False) or found.get("test") == ["NONE"]:
        return {"test": ["NONE"]}
    for key in ("interval", "timeout", "start_period", "start_interval"):
        if 0 < found.get(key, 0) < 10**6:
            at.sub(key).problem("is too short", found=raw[key], expected="1ms or more")
    return {key: value for key, value in found.items() if value}


def normal_capability(name: str) -> str:
    """Upper case, without the CAP_ that some write and some engines add."""
    upper = name.upper()
    return upper[4:] if upper.startswith("CAP_") else upper


def capabilities(raw: Any, at: At) -> list[str] | None:
    found = set()
    for i, name in enumerate(strings(raw, at) or ()):
        if re.fullmatch(r"[A-Z][A-Z_0-9]*", normal_capability(name)):
            found.add(normal_capability(name))
        else:
            at.sub(i).problem("is no capability", found=name, expected="such as NET_ADMIN")
    return sorted(found)


def security_opt(raw: Any, at: At) -> list[str] | None:
    found = set()
    for i, item in enumerate(strings(raw, at) or ()):
        value = normal_security_opt(item)
        key, _, profile = value.partition("=")
        if key == "seccomp" and profile != "unconfined":
            hint = "the engine takes profiles only as their text, which Otto does not carry"
            at.sub(i).problem(
                "is not supported yet", found=item, expected="seccomp=unconfined", hint=hint
            )
            continue
        found.add(value)
    return sorted(found)


def normal_security_opt(value: str) -> str:
    """key=value, whichever separator was used."""
    if value == "no-new-privileges":
        return "no-new-privileges=true"
    if "=" not in value and ":" in value:
        key, _, rest = value.partition(":")
        return f"{key}={rest}"
    return value


def devices(raw: Any, at: At) -> list[str] | None:
    """Sorted "host path:container path:permissions"."""
    found = set()
    for i, item in enumerate(raw if isinstance(raw, list) else [raw]):
        where = at.sub(i) if isinstance(raw, list) else at
        if isinstance(item, Mapping):
            long = keyed({"source": text, "target": text, "permissions": text}, ("source",))(
                item, where
            )
            if long is None or "source" not in long:
                continue
            target, mode = long.get("target", long["source"]), long.get("permissions", "rwm")
            parts = [long["source"], target, mode]
        else:
            parts = (plain(item) or "").strip().split(":")
        if len(parts) == 2 and re.fullmatch(r"[rwm]{1,3}", parts[1]):
            parts = [parts[0], parts[0], parts[1]]
        source, target = parts[0], parts[1] if len(parts) > 1 else parts[0]
        mode = parts[2] if len(parts) > 2 else "rwm"
        good = source.startswith("/") and target.startswith("/") and len(parts) <= 3
        if not good or not re.fullmatch(r"[rwm]{1,3}", mode):
            where.problem(
                "is no device", found=item, expected="/dev/x, /dev/x:/dev/y or /dev/x:/dev/y:rw"
            )
            continue
        found.add(f"{source}:{target}:{''.join(c for c in 'rwm' if c in mode)}")
    return sorted(found)


def sysctls(raw: Any, at: At) -> dict[str, str] | None:
    result = {}
    for key, (value, where) in pairs(raw, at, "name").items():
        content = None if isinstance(value, bool) else plain(value)
        if content is None or not key.strip():
            where.problem("is no setting", found=value, expected="name=value")
        else:
            result[key] = content.strip()
    return result


def ulimits(raw: Any, at: At) -> dict[str, dict[str, int]] | None:
    """name -> {"soft", "hard"}."""
    if not isinstance(raw, Mapping):
        at.problem("is not valid", found=raw, expected="a mapping such as nofile: 1024")
        return None
    number = integer(-1)
    result: dict[str, dict[str, int]] = {}
    for name, value in raw.items():
        where = at.sub(str(name))
        if isinstance(value, Mapping):
            both = keyed({"soft": number, "hard": number}, ("soft", "hard"))(value, where)
            if both is not None and len(both) == 2:
                result[str(name)] = both
        else:
            single = number(value, where)
            if single is not None:
                result[str(name)] = {"soft": single, "hard": single}
    return result


def _log_options(raw: Any, at: At) -> dict[str, str]:
    found = pairs(raw, at, "option")
    result = {}
    for key, (value, where) in found.items():
        content = plain(value)
        if content is None:
            where.problem("is no text", found=value, expected="text or a number")
        else:
            result[key] = content
    return result


def logging(raw: Any, at: At) -> dict[str, Any] | None:
    """{"driver", "options"}."""
    found = keyed({"driver": text, "options": _log_options}, ("driver",))(raw, at)
    if found is None or "driver" not in found:
        return None
    return {"driver": found["driver"], "options": found.get("options", {})}


def depends_on(raw: Any, at: At) -> list[str] | None:
    """Sorted names. Conditions are taken and need nothing: each service is awaited anyway."""
    if not isinstance(raw, Mapping):
        return string_set(raw, at)
    condition = one_of("service_started", "service_healthy", "service_completed_successfully")
    entry = keyed({"condition": condition, "required": boolean, "restart": boolean})
    for name, value in raw.items():
        if value is not None:
            entry(value, at.sub(str(name)))
    return sorted(str(name) for name in raw)
