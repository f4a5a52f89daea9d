# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose files as people have them, each in a folder of its own."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")

FILES = {
    folder.name: next(folder / name for name in NAMES if (folder / name).exists())
    for folder in sorted(HERE.iterdir())
    if folder.is_dir() and not folder.name.startswith("_")
}
"""Stack -> its compose file."""


def otto_yaml(nodes: str, folder: Path, names: list[str]) -> str:
    """One otto.yaml that takes all of them, on the nodes in turn.

    nodes: the section as it stands. folder: where otto.yaml will be. names: ids of the nodes.
    """
    stacks = ""
    for index, file in enumerate(FILES.values()):
        path = "../" * len(folder.parts[1:]) + str(file.relative_to("/"))
        stacks += f"  - {{compose: {path}, node: {names[index % len(names)]}}}\n"
    return f"""cluster: {{name: compose-files}}
mqtt: {{host: 10.77.0.1, port: 18830}}
nodes:
{nodes}
stacks:
{stacks}
# What two of the files call external: other stacks of the same node may share it.
networks: {{proxy: {{name: proxy}}}}
volumes: {{files: {{name: legacy_files}}}}
"""
