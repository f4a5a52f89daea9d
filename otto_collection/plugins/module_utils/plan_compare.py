# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service as it must be, beside the container that is there: what differs, and why. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from .known_secrets import of_container, of_spec
from .masking import HIDDEN, secrets_in
from .model import (
    LABEL_CLUSTER,
    LABEL_REVISION,
    LABEL_SERVICE,
    LABEL_SPEC,
    Change,
    Observed,
    ObservedContainer,
    Spec,
    canonical_json,
    digest,
)
from .option_table import OPTIONS
from .options import create_payload, differences
from .plan_files import mounted, shown
from .plan_images import new_content
from .plan_joins import named, outlived
from .plan_values import Wanted


def hide(spec: Spec, sensitive: Collection[str]) -> dict[str, Any]:
    """The spec with `sha256:<12 hex>` for each secret environment value, of hooks too.

    sensitive: names of those that are; an address with a password in it is one by itself.
    """
    result = _hide(spec, sensitive)
    for hook in ("post_start", "pre_stop"):
        if hook in result:
            result[hook] = [_hide(command, sensitive) for command in result[hook]]
    return result


def _hide(spec: Spec, sensitive: Collection[str]) -> dict[str, Any]:
    result = dict(spec)
    if "environment" in result:
        result["environment"] = {
            key: _hash(value) if key in sensitive or secrets_in(str(value)) else value
            for key, value in result["environment"].items()
        }
    return result


def _hash(value: str) -> str:
    text = value.encode("utf-8", "surrogatepass")
    return value if _hashed(value) else "sha256:" + hashlib.sha256(text).hexdigest()[:12]


def _hashed(value: str) -> bool:
    head, _, rest = value.partition(":")
    return head == "sha256" and len(rest) == 12 and set(rest) <= set("0123456789abcdef")


def secret_names(wanted: Wanted, applied: Spec | None) -> frozenset[str]:
    """Variables that are secret now, or were when the container was made: one that has left the
    file is told by the digest that stands for it in the container's label."""
    before = applied or {}
    parts = (before, *before.get("post_start", ()), *before.get("pre_stop", ()))
    digests = {
        name
        for part in parts
        for name, value in (part.get("environment") or {}).items()
        if _hashed(str(value))
    }
    return frozenset({*wanted.sensitive, *digests})


def own_labels(
    cluster: str | None, service: str, spec: Spec, sensitive: tuple[str, ...] = ()
) -> dict[str, str]:
    """The io.otto.* labels of a container. spec: resolved."""
    labels = {
        LABEL_SERVICE: service,
        LABEL_REVISION: digest(spec),
        LABEL_SPEC: canonical_json(hide(spec, sensitive)),
    }
    return {LABEL_CLUSTER: cluster, **labels} if cluster is not None else labels


def create_body(wanted: Wanted) -> dict[str, Any]:
    """Body of POST /containers/create: the spec's payload and Otto's labels."""
    body = create_payload(wanted.spec)
    body["Labels"] = {**body.get("Labels", {}), **wanted.labels}
    return body


def compare(
    wanted: Wanted, container: ObservedContainer, observed: Observed
) -> dict[str, list[Change]]:
    """option -> its changes; empty for a container that is as it must be."""
    own_image = observed.images.get(container.image_id)
    config = own_image.config if own_image is not None else None
    applied = container.applied
    secret = secret_names(wanted, applied)
    hidden = hide(wanted.spec, secret)
    before = wanted.previous if wanted.previous is not None else applied
    before = hide(before, secret) if before is not None else None
    found: dict[str, list[Change]] = {}
    if config is None and applied is not None:
        # Only the label can tell then; it has digests for the sensitive values. One that an earlier
        # Otto wrote may have fewer of them.
        wanted_spec: Spec = hidden
        applied = hide(applied, secret)
    else:
        wanted_spec = wanted.spec
    files = mounted(wanted.spec, applied or {})
    inspect = named(container.inspect, observed)
    delta = differences(wanted_spec, inspect, config, observed.engine, applied)
    for name, keys in delta.items():
        side = OPTIONS[name].side
        now = side.expected(hidden, config or {}, observed.engine)
        then = side.expected(before, config or {}, observed.engine) if before is not None else {}
        for key, (old, new) in keys.items():
            drift = before is not None and then.get(key) == now.get(key)
            if name == "environment" and key in secret:
                # A digest may stand for an address: which one it is may be seen.
                written = key not in wanted.sensitive
                old, new = (
                    HIDDEN if text is not None and not (written and secrets_in(text)) else text
                    for text in (old, new)
                )
            label = f"{name}.{key}" if key else name
            if name == "volumes" and key in files:
                label, old, new = f"{files[key]}.{key}", shown(old), shown(new)
            found.setdefault(name, []).append(Change(label, old, new, "drift" if drift else "file"))
    if found:
        held = (*of_spec(wanted.spec, secret), *of_container(container))
        found = {name: [one.with_known(held) for one in some] for name, some in found.items()}
    for name, changes in outlived(container, observed).items():
        found.setdefault(name, changes)
    newer = new_content(wanted.spec, container, observed)
    if "image" not in found and newer is not None:
        found["image"] = [newer]
    for network, end in (
        (container.inspect.get("NetworkSettings") or {}).get("Networks") or {}
    ).items():
        known = observed.networks.get(network)
        ids = ((end or {}).get("NetworkID"), known.inspect.get("Id") if known is not None else None)
        if all(ids) and ids[0] != ids[1]:
            # Removed and made anew under the same name: the container cannot start on it again.
            change = Change(
                f"networks.{network}", "a network that is gone", "the one there is", "drift"
            )
            found.setdefault("network_mode", []).append(change)
    return found


def flat(changes: Mapping[str, list[Change]]) -> tuple[Change, ...]:
    return tuple(change for name in changes for change in changes[name])
