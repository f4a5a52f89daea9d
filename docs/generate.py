# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what the option table says into the documentation of module `container`.

    python docs/generate.py          # writes
    python docs/generate.py --check  # only says whether it is current (exit code 1 if not)

ansible-doc reads DOCUMENTATION without running the file, so the text has to stand in it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.options import OPTIONS, argument_spec

MODULE = Path(__file__).parents[1] / "otto_collection/plugins/modules/container.py"
BEGIN = "# options of a service: written by docs/generate.py\n"
END = "# end of the options of a service\n"


def options_text() -> str:
    """The options of a service as YAML, below `options:`."""
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


def generated(text: str) -> str:
    """The module's text with its options written anew."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return head + BEGIN + options_text() + END + tail


def main() -> int:
    text = MODULE.read_text(encoding="utf-8")
    current = generated(text)
    if text == current:
        return 0
    if "--check" in sys.argv:
        print(f"{MODULE.name} is not current: python docs/generate.py", file=sys.stderr)
        return 1
    MODULE.write_text(current, encoding="utf-8")
    print(f"{MODULE.name}: options written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
