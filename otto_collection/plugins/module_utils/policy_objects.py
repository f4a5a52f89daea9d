# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each key of a volume and of a network asks of a node. Pure.

The keys are those of a target's volumes and networks. Each declares its needs, as the options of a
service do (`option_needs.py`); a key that stands in neither table is refused under a policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .option_needs import HARMLESS, Asked, Need, Needs, Place

# --- volumes -------------------------------------------------------------------------------------

SHARES = ("nfs", "nfs4", "cifs")
_FLAGS = frozenset(
    (
        *("defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync"),
        *("async", "dirsync", "atime", "noatime", "diratime", "nodiratime", "relatime"),
        *("norelatime", "strictatime", "nostrictatime"),
    )
)
"""Words of `o` that only say how something is mounted."""
_WAYS = frozenset(
    (
        *("bind", "rbind", "remount", "move", "shared", "rshared", "slave", "rslave", "private"),
        *("rprivate", "unbindable", "runbindable", "mand", "nomand"),
    )
)
"""Words of `o` with which the kernel mounts something else than the type says."""


def _options(options: Mapping[str, Any]) -> Iterator[Asked]:
    """What the engine's own driver would mount. With `bind` the kernel looks at the device alone,
    whatever the type is."""
    given = {key: str(value) for key, value in options.items()}
    kind, device = given.get("type", ""), given.get("device", "")
    words = given.get("o", "").split(",") if given.get("o") else []
    alike = {word.strip().lower() for word in words}
    unknown = sorted(set(given) - {"type", "device", "o", "size"})
    if unknown:
        yield Need("volume_driver", f"a volume with the option {', '.join(unknown)}")
    elif {"bind", "rbind"} & set(words) and set(words) - {"bind", "rbind"} <= _FLAGS:
        if device.startswith("/"):
            yield Place(device, False)
        else:
            yield Need("volume_driver", f"a volume that binds {device or 'nothing'}")
    elif alike & _WAYS:
        yield Need("volume_driver", f"a volume with o: {given['o']}")
    elif kind not in (*SHARES, "tmpfs") and (kind or device or words):
        yield Need("volume_driver", f"a volume of type {kind or 'none'} ({device or 'no device'})")


def _volume_driver(driver: Any) -> Iterator[Asked]:
    if driver not in (None, "", "local"):
        yield Need("volume_driver", f"the volume driver {driver}")


VOLUME: Mapping[str, Needs] = {
    "name": HARMLESS,
    "labels": HARMLESS,
    "external": HARMLESS,  # whose it is: see `policy_needs`
    "driver": Needs(("volume_driver",), _volume_driver),
    "options": Needs(("volume_driver", "mounts"), _options),
}

# --- networks ------------------------------------------------------------------------------------

_BRIDGE = frozenset(
    (
        *("com.docker.network.driver.mtu", "com.docker.network.bridge.enable_icc"),
        *("com.docker.network.bridge.enable_ip_masquerade",),
        *("com.docker.network.bridge.host_binding_ipv4",),
        *("com.docker.network.bridge.default_bridge",),
        *("com.docker.network.container_iface_prefix",),
    )
)
"""Options of the driver `bridge` that touch no interface of the node but the network's own."""


def _network_driver(driver: Any) -> Iterator[Asked]:
    if driver == "host":
        yield Need("host_network", "a network of the driver host")
    elif driver not in (None, "", "bridge", "null"):
        yield Need("network_driver", f"the network driver {driver}")


def _network_options(options: Mapping[str, Any]) -> Iterator[Asked]:
    others = sorted(set(options) - _BRIDGE)
    if others:
        yield Need("network_driver", f"a network with the option {', '.join(others)}")


def _ipam(config: Any) -> Iterator[Asked]:
    # The node sends what it has for these addresses into the network: its router's may be among
    # them, or its name server's.
    if config:
        subnets = [str(one.get("subnet", "?")) for one in config]
        yield Need("subnets", f"the subnet {', '.join(subnets)}")


NETWORK: Mapping[str, Needs] = {
    "name": HARMLESS,
    "labels": HARMLESS,
    "external": HARMLESS,
    "driver": Needs(("network_driver", "host_network"), _network_driver),
    "options": Needs(("network_driver",), _network_options),
    "internal": HARMLESS,
    "attachable": HARMLESS,
    "enable_ipv6": HARMLESS,
    "ipam": Needs(("subnets",), _ipam),
}


def declared(
    kind: str, name: str, table: Mapping[str, Needs], said: Mapping[str, Any]
) -> Iterator[Asked]:
    """What a volume or a network asks for. said: as the target has it, or as the engine shows it
    in a target's words."""
    for key, value in said.items():
        key = "options" if key == "driver_opts" else key
        if key not in table:
            yield Need("", f"{key} of {kind} {name}, which says nothing of itself")
        elif value:
            yield from table[key].of(value)
