# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what the code's own tables say into the texts that people and tools read.

    python docs/generate.py          # writes
    python docs/generate.py --check  # only says what is not current (exit code 1)

ansible-doc reads DOCUMENTATION without running the file, editors read a schema file, and people
read otto-yaml.md, compose.md, metrics.md and untrusted.md: so the text has to stand in all of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import cluster_tables
from ansible_collections.otto.cluster.plugins.module_utils.cluster_schema import (
    schema as cluster_schema,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_reach import REACH
from ansible_collections.otto.cluster.plugins.module_utils.option_refused import BEFORE, REFUSED
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS, Option
from ansible_collections.otto.cluster.plugins.module_utils.options import argument_spec
from ansible_collections.otto.cluster.plugins.module_utils.policy import KEYS
from ansible_collections.otto.cluster.plugins.module_utils.reach import VALUE, declared

from otto_agent import metrics_table

ROOT = Path(__file__).resolve().parents[1]


def module_options() -> str:
    """The options of a service as YAML, below `options:` of module `container`."""
    lines = []
    for name, argument in argument_spec().items():
        lines.append(f"  {name}:")
        text = OPTIONS[name].doc.replace("'", "''")
        if len(text) <= 70:
            lines.append(f"    description: '{text}'")
        else:
            lines.append("    description: >-")
            line = "     "
            for word in OPTIONS[name].doc.split():
                if len(line) + 1 + len(word) > 99:
                    lines.append(line)
                    line = "     "
                line += " " + word
            lines.append(line)
        lines.append(f"    type: {argument['type']}")
        if name == "environment":
            lines.append("    aliases: [env]")
    return "\n".join(lines) + "\n"


def schema() -> str:
    """The JSON Schema of otto.yaml, as `otto-run schema` prints it."""
    return json.dumps(cluster_schema(), indent=2) + "\n"


def key_tables() -> str:
    """A table for each section of otto.yaml, and one for the keys of a service."""
    sections = cluster_schema()["properties"]
    parts = []
    for name, title in (
        ("cluster", "cluster"),
        ("mqtt", "mqtt"),
        ("update", "update"),
        ("nodes", "nodes[]"),
        ("stacks", "stacks[]"),
        ("networks", "networks"),
        ("volumes", "volumes"),
        ("secrets", "secrets and configs"),
        ("registries", "registries"),
        ("images", "images"),
    ):
        parts += [f"### `{title}`", "", "| key | | meaning |", "| --- | --- | --- |"]
        parts += _rows(_object_in(sections[name]))
        parts.append("")
    parts += ["### A service", "", "Its keys are the compose-spec's: [compose.md](compose.md).", ""]
    return "\n".join(parts) + "\n"


def compose_keys() -> str:
    """A row for each key that the compose-spec has for a service."""
    rows = {
        name: (
            "yes",
            option.compared,
            option.costs,
            _allowed(option),
            " ".join(_cell(text) for text in (option.doc, option.note) if text),
        )
        for name, option in OPTIONS.items()
    }
    for name, before in BEFORE.items():
        rows[name] = ("yes, here", "–", "as what it brings", "as what it brings", _cell(before.doc))
    for name, refused in REFUSED.items():
        why = f"It {refused.why}. Instead: {refused.instead}."
        rows[name] = ("no", "–", "–", "–", _cell(why))
    head = (
        f"{len(rows)} keys: {len(OPTIONS)} are done on the node, {len(BEFORE)} are read on the"
        f' control machine ("yes, here"), {len(REFUSED)} are refused.'
    )
    lines = [head, "", "| key | supported | compared | a change | a policy has to allow | notes |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    lines += [f"| `{name}` | {' | '.join(rows[name])} |" for name in sorted(rows)]
    return "\n".join(lines) + "\n"


def _allowed(option: Option) -> str:
    """What the policy of a node has to allow for an option."""
    if option.spreads or option.needs is None:
        return "as what it stands for"
    return " ".join(f"`{key}`" for key in option.needs.keys) or "nothing"


def policy_keys() -> str:
    """A row for each key of `allow` in a node's policy."""
    lines = ["| key | without it these are refused |", "| --- | --- |"]
    lines += [f"| `{key}` | {text} |" for key, text in KEYS.items()]
    return "\n".join(lines) + "\n"


REACHING = {
    "": cluster_tables.TOP,
    "cluster.": cluster_tables.CLUSTER,
    "mqtt.": cluster_tables.MQTT,
    "mqtt.tls.": cluster_tables.TLS,
    "nodes[].": cluster_tables.NODE,
    "stacks[].": cluster_tables.STACK,
    "include[].": cluster_tables.INCLUDE,
    "registries.*.": cluster_tables.REGISTRY,
    "secrets.*., configs.*.": cluster_tables.CONTENT,
}


def reach_table() -> str:
    """A row for each key that does something on the control machine."""
    found: dict[tuple[str, str], list[str]] = {}
    keys = [
        (f"`{prefix}{row.key}`", declared(row.reach))
        for prefixes, rows in REACHING.items()
        for row in rows
        for prefix in prefixes.split(", ")
    ]
    keys += [(f"`services.*.{key}`", reach) for key, reach in sorted(REACH.items())]
    for key, reach in keys:
        if reach != VALUE:
            found.setdefault((reach.does, reach.stranger), []).append(key)
    lines = [
        "| key | on the control machine | an untrusted file may set it |",
        "| --- | --- | --- |",
    ]
    for (does, stranger), names in found.items():
        lines.append(f"| {', '.join(names)} | {_cell(does)} | {_cell(stranger)} |")
    return "\n".join(lines) + "\n"


def metric_tables() -> str:
    """A row for each number of the host, and of a container."""
    parts = []
    for title, metrics in (
        ("The host", metrics_table.HOST),
        ("A container", metrics_table.CONTAINER),
    ):
        parts += [f"## {title}", "", "| name | unit | read from | what | absent where |"]
        parts.append("| --- | --- | --- | --- | --- |")
        for metric in metrics:
            cells = (metric.unit, metric.source, metric.text, metric.absent)
            parts.append(f"| `{metric.name}` | {' | '.join(_cell(cell) for cell in cells)} |")
        parts.append("")
    return "\n".join(parts)


def _object_in(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping that a section's schema describes, whatever stands around it."""
    if "properties" in shape:
        return shape
    below = (shape.get("items"), shape.get("additionalProperties"), *shape.get("anyOf", ()))
    for inner in below:
        if isinstance(inner, Mapping) and (found := _object_in(inner)):
            return found
    return {}


def _rows(shape: Mapping[str, Any]) -> Iterator[str]:
    required = shape.get("required", ())
    for name, value in shape["properties"].items():
        must = "required" if name in required else ""
        yield f"| `{name}` | {must} | {_cell(value.get('description', ''))} |"


def _cell(text: str) -> str:
    """Text of the option table (Ansible's C() for code) as it stands in a table of Markdown."""
    return re.sub(r"C\(([^()]*)\)", r"`\1`", text).replace("|", "\\|")


def between(begin: str, end: str, text: Callable[[], str]) -> Callable[[str], str]:
    """Replaces what stands between two marker lines of a file."""

    def replaced(old: str) -> str:
        head, rest = old.split(begin)
        return head + begin + text() + end + rest.split(end)[1]

    return replaced


WRITTEN: Mapping[str, Callable[[str], str]] = {
    "otto_collection/plugins/modules/container.py": between(
        "# options of a service: written by docs/generate.py\n",
        "# end of the options of a service\n",
        module_options,
    ),
    "docs/otto-yaml.md": between(
        "<!-- keys: written by docs/generate.py -->\n", "<!-- end of the keys -->\n", key_tables
    ),
    "docs/compose.md": between(
        "<!-- keys: written by docs/generate.py -->\n",
        "<!-- end of the keys -->\n",
        compose_keys,
    ),
    "docs/metrics.md": between(
        "<!-- metrics: written by docs/generate.py -->\n",
        "<!-- end of the metrics -->\n",
        metric_tables,
    ),
    "docs/security.md": between(
        "<!-- keys of a policy: written by docs/generate.py -->\n",
        "<!-- end of the keys of a policy -->\n",
        policy_keys,
    ),
    "docs/untrusted.md": between(
        "<!-- keys: written by docs/generate.py -->\n",
        "<!-- end of the keys -->\n",
        reach_table,
    ),
    "docs/otto.schema.json": lambda _: schema(),
}


def main() -> int:
    stale = 0
    for name, generated in WRITTEN.items():
        path = ROOT / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = generated(old)
        if old == new:
            continue
        if "--check" in sys.argv:
            print(f"{name} is not current: python docs/generate.py", file=sys.stderr)
            stale = 1
        else:
            path.write_text(new, encoding="utf-8")
            print(f"{name}: written")
    return stale


if __name__ == "__main__":
    sys.exit(main())
