# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person may write for each option of a service, turned into its one canonical shape. Pure.

Every parser has the shape `parse(raw, at) -> value | None`; None means "as if it were not written".
What is wrong goes to `at.problem(...)`, and the parser goes on with the rest. The shapes that come
out are those of docs/architecture.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from .errors import nearest
from .option_text import (
    At,
    boolean,
    duration,
    integer,
    keyed,
    pairs,
    plain,
    strings,
    text,
    texts,
)
from .withheld import WITHHELD, Withheld, withheld_hint

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
    """An empty one is the image's own, as `${ARGS:-}` says where nothing is set."""
    return words(raw, at) or None


def environment(raw: Any, at: At) -> dict[str, str] | None:
    result: dict[str, str] = {}
    for key, (value, where) in pairs(raw, at, "KEY").items():
        if not key or set(key) & set("=\0 \t\r\n"):
            where.problem("is no name of a variable", found=key, expected="KEY=value")
            continue
        if value is None:
            # Named without a value: taken from where otto runs; unset there, it is not set here.
            given = at.environ.get(key)
            if isinstance(given, Withheld):
                where.problem(WITHHELD, found=key, hint=withheld_hint(key))
            elif given is not None:
                result[key] = given
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


def annotation_texts(raw: Any, at: At) -> dict[str, str] | None:
    result: dict[str, str] = {}
    for key, (value, where) in pairs(raw, at, "annotation").items():
        content = "" if value is None else plain(value)
        if content is None or not key.strip():
            where.problem("is no text", found=value, expected="text, a number, true or false")
        else:
            result[key] = content
    return result


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
        "retries": integer(0, 10**6),
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


def logging(raw: Any, at: At) -> dict[str, Any] | None:
    """{"driver", "options"}; driver is "" for the engine's own."""
    found = keyed({"driver": text, "options": texts})(raw, at)
    if found is None:
        return None
    return {"driver": found.get("driver", ""), "options": found.get("options", {})}
