# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of secrets and configs: from a file of this machine, a variable, or otto.yaml.

What is read is never shown: a problem names the place alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    OttoError,
    Path,
    nearest,
    typed,
)
from ansible_collections.otto.cluster.plugins.module_utils.folders import Folders, Outside
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At
from ansible_collections.otto.cluster.plugins.module_utils.withheld import (
    WITHHELD,
    Withheld,
    shown_names,
    withheld_hint,
)
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import (
    VAULT_HEADER,
    VAULT_HINT,
    Vault,
    because,
)

MAX_CONTENT = 500 * 1024
"""Bytes of one secret or config; the engine's own limit, and each travels to every node."""


def read_contents(
    declared: Mapping[str, Mapping[str, Any]],
    directory_of: Callable[[Path], str],
    at: At,
    vault: Vault | None,
    folders: Folders,
) -> dict[str, bytes]:
    """key -> content, as the rows CONTENT of cluster_tables declare it.

    directory_of: what a file's name is relative to, by where it stands. folders: where it may lie.
    What cannot be read is told, and left out.
    """
    result: dict[str, bytes] = {}
    for key, said in declared.items():
        where = at.sub(key)
        content: bytes | None = None
        if "file" in said:
            content = _of_file(said["file"], directory_of, where.sub("file"), vault, folders)
        elif "environment" in said:
            content = _of_variable(said["environment"], where.sub("environment"))
        elif "content" in said:
            content = said["content"].encode("utf-8")
        if content is None:
            continue
        if len(content) > MAX_CONTENT:
            where.problem(
                f"is larger than {MAX_CONTENT // 1024} KiB",
                hint="larger things go into the image, or a volume",
            )
            continue
        result[key] = content
    return result


def _of_variable(name: str, at: At) -> bytes | None:
    value = at.environ.get(name)
    if value is None:
        at.problem(
            "is not set",
            found=name,
            expected="a variable with a value",
            nearest=nearest(name, shown_names(at.environ)),
            hint=typed("export {0}=..., or write {0}=... into .env beside the file", name),
        )
        return None
    if isinstance(value, Withheld):
        at.problem(WITHHELD, found=name, hint=withheld_hint(name))
        return None
    return value.encode("utf-8", "surrogateescape")


def _of_file(
    name: str,
    directory_of: Callable[[Path], str],
    at: At,
    vault: Vault | None,
    folders: Folders,
) -> bytes | None:
    directory = directory_of(at.path)
    path = os.path.normpath(os.path.join(directory, os.path.expanduser(name)))  # noqa: PTH111, PTH118
    try:
        if not folders.is_file(path, directory):
            at.problem("is no file of this machine", found=name, expected=f"a file {path}")
            return None
        # Ciphertext is longer than what it holds.
        raw = folders.read(path, directory, MAX_CONTENT * 4)
    except Outside as outside:
        at.problems.add(at.path, **outside.words(name))
        return None
    except OSError as error:
        at.problem(f"cannot be read: {error.strerror}", found=name, expected="a readable file")
        return None
    if not raw.startswith(VAULT_HEADER.encode("ascii")):
        return raw
    if vault is None:
        at.problem("is vaulted", found=name, expected="a vault password", hint=VAULT_HINT)
        return None
    try:
        return vault(raw.decode("utf-8")).encode("utf-8")
    except (OttoError, UnicodeDecodeError) as error:
        why = because(error) if isinstance(error, OttoError) else "its text is not UTF-8"
        at.problem(f"cannot be decrypted: {why}", found=name, hint=VAULT_HINT)
        return None
