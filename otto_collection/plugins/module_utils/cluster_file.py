# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""otto.yaml -> Cluster, all that is wrong told at once.

Services are a list of mappings with `name` (as in the seed) or a mapping name -> keys (as in
compose). Where a service runs is said by one key, `node`:

    node: rpi-01               one node
    node: [rpi-01, rpi-02]     these nodes
    node: all                  every node
    node: {zone: attic}        every node that has all of these labels

and may be left out where the cluster has only one node.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.assembly import (
    Assembled,
    Scope,
    assemble,
)
from ansible_collections.otto.cluster.plugins.module_utils.caller import (
    ONESELF,
    OUTSIDE_FIRST,
    Caller,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    DEFAULT_NETWORK,
    KEEP_IMAGES,
    LOCAL_HOSTS,
    SYSTEM_CA,
    Cluster,
    Login,
    Mqtt,
    Node,
    Service,
    Update,
    engine_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_checks import (
    check_cluster,
    check_nodes,
    check_scope,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_contents import read_contents
from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    NAME,
    read_table,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_services import (
    Names,
    Placement,
    read_services,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import (
    COMPOSE,
    COMPOSE_ELSEWHERE,
    ELSEWHERE,
    INVENTORY_KEYS,
    NODE,
    TOP,
    is_service_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    Path,
    Problem,
    Problems,
    show_value,
    typed,
)
from ansible_collections.otto.cluster.plugins.module_utils.folders import Folders, Outside
from ansible_collections.otto.cluster.plugins.module_utils.option_text import (
    At,
    integer,
    plain,
)
from ansible_collections.otto.cluster.plugins.module_utils.source import (
    MAX_BYTES,
    Source,
    env_file,
    load,
)
from ansible_collections.otto.cluster.plugins.module_utils.withheld import layered
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import Vault

_PYTHON = r"/(?:usr|bin|opt)(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+-]+)+"
"""Of a remote node. What stands there is looked at on the node: `plugin_utils/interpreter.py`."""


def load_file(
    path: str,
    *,
    environ: Mapping[str, str] | None = None,
    vault: Vault | None = None,
    caller: Caller = ONESELF,
) -> Cluster:
    """Read and check a cluster file and the `.env` beside it; the environment wins over `.env`.

    environ: None for this process's. caller: whose file it is, and what it may have.
    Raises ClusterFileError with everything that is wrong.
    """
    outer = dict(os.environ if environ is None else environ)
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    try:
        if caller.untrusted:
            raw = caller.folders_of(folder).read(os.path.abspath(path), folder, MAX_BYTES + 1)  # noqa: PTH100
        else:
            with open(path, "rb") as file:  # noqa: PTH123
                raw = file.read()
    except Outside as outside:
        raise ClusterFileError([Problem((), file=str(path), **outside.words(path))]) from None
    except OSError as error:
        raise ClusterFileError(
            [
                Problem(
                    (),
                    f"cannot read the file: {error.strerror}",
                    hint="otto-run init writes one to start from",
                    file=str(path),
                )
            ]
        ) from error
    return load_text(raw, str(path), environ=outer, vault=vault, caller=caller)


def load_text(
    raw: str | bytes,
    path: str,
    *,
    environ: Mapping[str, str],
    vault: Vault | None = None,
    caller: Caller = ONESELF,
) -> Cluster:
    """Like load_file, for a text that was read already from `path`."""
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    folders = caller.folders_of(folder)
    given = caller.variables_of(environ)
    if caller.untrusted:
        _refuse_ansible_variables(folder, path)
        _refuse_what_a_stranger_may_change(folder, path, caller)
    merged = layered(_dot_env(path, folder, folders, given), given)
    source = load(raw, path, environ=merged, vault=vault, literal=INVENTORY_KEYS)
    assembled = assemble(source, outer=given, vault=vault, caller=caller, folders=folders)
    return _Reader(assembled, source, vault, caller, folders).cluster()


def _dot_env(
    path: str, folder: str, folders: Folders, environ: Mapping[str, str]
) -> dict[str, str]:
    """Variables of the `.env` beside the file; {} where there is none."""
    name = os.path.join(os.path.dirname(path), ".env")  # noqa: PTH118, PTH120
    try:
        content = folders.read(os.path.join(folder, ".env"), folder, MAX_BYTES + 1)  # noqa: PTH118
    except FileNotFoundError:
        return {}
    except Outside as outside:
        raise ClusterFileError([Problem((), file=name, **outside.words(name))]) from None
    except OSError as error:
        problem = Problem((), f"cannot read the file: {error.strerror}", file=name)
        raise ClusterFileError([problem]) from error
    return env_file(content, name, environ)


def _refuse_what_a_stranger_may_change(folder: str, path: str, caller: Caller) -> None:
    problems = [
        Problem(
            (),
            f"{option} lies in the checkout of the untrusted file, whose author may change it",
            found=show_value(given),
            expected="a file elsewhere",
            hint=typed(OUTSIDE_FIRST, given),
            file=path,
        )
        for option, given in caller.within(folder)
    ]
    if problems:
        raise ClusterFileError(problems)


def _refuse_ansible_variables(folder: str, path: str) -> None:
    """Ansible takes variables from these folders beside an inventory, and they are templates."""
    for name in ("group_vars", "host_vars"):
        if os.path.lexists(os.path.join(folder, name)):  # noqa: PTH118
            raise ClusterFileError(
                [
                    Problem(
                        (),
                        f"has {name} beside it, which Ansible would run as templates",
                        expected="none beside an untrusted file",
                        file=path,
                    )
                ]
            )


_MISSING = re.compile("has no ([a-z_]+)")
_OBJECTS = ("networks", "volumes")
_CONTENTS = ("secrets", "configs")


class _Reader:
    """One pass over what was put together. What cannot be read is left out, and told."""

    def __init__(
        self,
        assembled: Assembled,
        source: Source,
        vault: Vault | None,
        caller: Caller,
        folders: Folders,
    ) -> None:
        self._caller = caller
        self._folders = folders
        self._tree = assembled.tree
        self._places = assembled.places
        self._assembled = assembled
        self._environ = source.environ
        self._file = source.file
        self._vault = vault
        self._problems = Problems()
        self._names: dict[int, str] = {}
        self._nodes_known = True
        self._services: dict[str, Service] = {}
        self._objects: dict[str, dict[str, tuple[Path, Mapping[str, Any]]]] = {
            kind: {} for kind in _OBJECTS
        }
        self._contents: dict[str, dict[str, bytes]] = {kind: {} for kind in _CONTENTS}

    def cluster(self) -> Cluster:
        at = self._at()
        top = read_table(TOP, self._tree, at, ELSEWHERE) or {}
        nodes = self._nodes(top.get("nodes", []))
        if top.get("nodes") == []:
            at.sub("nodes").problem("is empty", expected="at least one node with id and host")
        registries = self._registries(top.get("registries", {}), at.sub("registries"))
        check_nodes(nodes, top.get("mqtt"), at)
        self._check_ca(top.get("mqtt") or {})
        name = top.get("cluster", {}).get("name", "")
        placement = Placement(nodes, known=self._nodes_known)
        update = self._update(top.get("update", {}), placement)
        for scope in self._assembled.scopes:
            if scope.stack:
                self._stack(scope, placement, name)
            else:
                self._own(scope, top, placement)
        services = tuple(self._services.values())
        check_cluster(name, services, self._objects, at, line_of=self._line)
        self._stop_if_wrong()
        known_hosts = top["cluster"].get("known_hosts")
        return Cluster(
            name=name,
            nodes=tuple(nodes),
            services=services,
            mqtt=self._mqtt(top["mqtt"], nodes) if "mqtt" in top else None,
            networks={key: said for key, (_, said) in self._objects["networks"].items()},
            volumes={key: said for key, (_, said) in self._objects["volumes"].items()},
            secrets=self._contents["secrets"],
            configs=self._contents["configs"],
            registries=registries,
            keep_images=top.get("images", {}).get("keep", KEEP_IMAGES),
            update=update,
            known_hosts=self._beside(known_hosts)
            if known_hosts
            else self._caller.known_hosts or None,
            file=self._file,
            inventory={key: self._tree[key] for key in INVENTORY_KEYS if key in self._tree},
        )

    def _registries(self, said: Mapping[str, Mapping[str, Any]], at: At) -> dict[str, Login]:
        files = {
            host: {"file": login["password_file"]}
            for host, login in said.items()
            if "password_file" in login
        }
        found = read_contents(files, lambda _path: self._beside(""), at, self._vault, self._folders)
        passwords = {
            host: raw.decode("utf-8", "replace").rstrip("\r\n") for host, raw in found.items()
        }
        passwords.update(
            (host, login["password"]) for host, login in said.items() if host not in files
        )
        return {host: Login(said[host]["username"], text) for host, text in passwords.items()}

    def _mqtt(self, said: Mapping[str, Any], nodes: Sequence[Node]) -> Mqtt:
        values = dict(said)
        values.setdefault("host", next((n.host for n in nodes if n.id == said.get("node")), ""))
        return Mqtt(**values)

    def _check_ca(self, said: dict[str, Any]) -> None:
        """The CA's file, as the place where it lies now: a link may lead elsewhere later."""
        if said.get("ca") in (None, SYSTEM_CA):
            return
        try:
            said["ca"] = self._folders.inside(self._beside(said["ca"]), self._beside(""))
        except Outside as outside:
            self._problems.add(("mqtt", "tls", "ca"), **outside.words(said["ca"]))

    def _beside(self, path: str) -> str:
        """A path of this machine, as seen from the file's directory."""
        directory = os.path.dirname(os.path.abspath(self._file))  # noqa: PTH100, PTH120
        joined = os.path.join(directory, os.path.expanduser(path))  # noqa: PTH111, PTH118
        return os.path.normpath(joined)

    def _update(self, values: Mapping[str, Any], placement: Placement) -> Update:
        canary = values.get("canary")
        if canary is None:
            return Update(**values)
        at = self._at("update", "canary")
        if re.fullmatch("[+-]?[0-9]+", plain(canary) or ""):
            first = integer(0, 10000)(canary, at) or 0
        else:
            first = placement.named(canary, at)
        return Update(**{**values, "canary": first})

    # --- scopes

    def _own(self, scope: Scope, top: Mapping[str, Any], placement: Placement) -> None:
        """The services of otto.yaml itself, and what it defines."""
        sections = {kind: top.get(kind, {}) for kind in (*_OBJECTS, *_CONTENTS)}
        found = self._scope(scope, top, None, placement)
        for name, service in found.items():
            self._services[name] = service
        for kind in _OBJECTS:
            for key, said in sections[kind].items():
                self._objects[kind][key] = ((kind, key), said)
        if any("networks" not in s.spec and "network_mode" not in s.spec for s in found.values()):
            self._objects["networks"].setdefault(DEFAULT_NETWORK, ((), {}))
        for kind in _CONTENTS:
            self._contents[kind].update(self._read(kind, sections[kind], scope))

    def _stack(self, scope: Scope, placement: Placement, cluster: str) -> None:
        """The services of a stack, under the cluster's names."""
        entry: Mapping[str, Any] = self._tree["stacks"][scope.stack]
        at = At(scope.path, self._problems, scope.environ, self._caller.untrusted)
        top = read_table(COMPOSE, entry["model"], at, COMPOSE_ELSEWHERE) or {}
        where = placement.of(entry.get("node"), self._at("stacks", scope.stack))
        sections = {kind: top.get(kind, {}) for kind in (*_OBJECTS, *_CONTENTS)}
        shared = {
            kind: {engine_name(cluster, key, said): key for key, (_, said) in own.items()}
            for kind, own in self._objects.items()
        }
        names = Names(scope.stack, shared)
        for service in self._scope(scope, top, where, placement).values():
            renamed = names.renamed(service, sections)
            at = At(service.path, self._problems)
            other = self._services.get(renamed.name)
            if other is not None:
                at.problem(
                    f"has the name of the service {other.path[-1]} ({self._line(other.path)})",
                    found=renamed.name,
                    expected="another name",
                    hint="name: at the stack gives another one",
                )
            elif is_service_name(renamed.name, at):
                self._services[renamed.name] = renamed
        for kind in _OBJECTS:
            declared = dict(sections[kind])
            if kind == "networks":
                declared.setdefault(DEFAULT_NETWORK, {})
            for key, said in declared.items():
                new = names.key(kind, key, said)
                if said.get("external") and new in shared[kind].values():
                    continue
                if new in self._objects[kind]:
                    At((*scope.path, kind, key), self._problems).problem(
                        f"has the key of one of the {kind} of otto.yaml",
                        found=new,
                        expected="another key there, or another name of the stack",
                    )
                    continue
                self._objects[kind][new] = (
                    (*scope.path, kind, key),
                    names.declared(key, said),
                )
        for kind in _CONTENTS:
            for key, content in self._read(kind, sections[kind], scope).items():
                self._contents[kind][names.key(kind, key, {})] = content

    def _scope(
        self,
        scope: Scope,
        top: Mapping[str, Any],
        where: Sequence[str] | None,
        placement: Placement,
    ) -> dict[str, Service]:
        at = At(scope.path, self._problems, scope.environ)
        entries = top.get("services")
        found = read_services(
            scope,
            entries if isinstance(entries, Mapping) else {},
            where,
            placement,
            self._places,
            self._problems,
        )
        check_scope(
            found,
            {kind[:-1]: top.get(kind, {}) for kind in (*_OBJECTS, *_CONTENTS)},
            at,
            resting=scope.resting,
            complete=scope.complete,
        )
        return found

    def _read(self, kind: str, declared: Mapping[str, Any], scope: Scope) -> dict[str, bytes]:
        return read_contents(
            declared,
            lambda path: self._places.find(path).file.directory,
            At((*scope.path, kind), self._problems, scope.environ),
            self._vault,
            self._folders,
        )

    # --- errors

    def _named(self, path: Path, file: str) -> Path:
        """Entries of lists go by name: ("nodes", 0, ...) is ("nodes", "rpi-01", ...)."""
        if len(path) > 1 and isinstance(path[1], int):
            name: str | None = None
            if path[0] == "services":
                name = self._assembled.names.get((file, path[1]))
            elif path[0] == "nodes" and file == self._file:
                name = self._names.get(path[1])
            if name is not None:
                return (path[0], name, *path[2:])
        return path

    def _stop_if_wrong(self) -> None:
        places = self._places
        # Nodes are asked for by name.
        named = {path: self._named(path, self._file) for path in places.of}
        places.of.update({named[path]: place for path, place in places.of.items()})
        places.secrets.update({named[path] for path in places.secrets})
        places.broken.update({named[path] for path in places.broken})
        meant = {(*p.path[:-1], p.nearest) for p in self._problems if p.nearest}
        page = list(self._assembled.problems)
        for problem in self._problems:
            missing = _MISSING.fullmatch(problem.message)
            if missing and (*problem.path, missing.group(1)) in meant:
                continue  # `imagee: nginx` is one mistake, not two
            page.extend(places.located([problem]))
        if page:
            order = {name: rank for rank, name in enumerate(self._assembled.files)}
            # What several services inherit is wrong once.
            page = list(dict.fromkeys(_with(p, path=self._named(p.path, p.file)) for p in page))
            page.sort(key=lambda p: (order.get(p.file, len(order)), p.line))
            raise ClusterFileError(page)

    def _is_broken(self, *path: str | int) -> bool:
        return any(path[:n] in self._places.broken for n in range(len(path) + 1))

    def _line(self, path: Path) -> str:
        """`line 7`, or `other.yaml line 7`; "" where it is not known."""
        place = self._places.find(path)
        if path not in self._places.of or not place.line:
            return ""
        file = "" if place.file.name == self._file else place.file.name + " "
        return f"{file}line {place.line}"

    def _at(self, *path: str | int) -> At:
        return At(path, self._problems, self._environ, self._caller.untrusted)

    # --- nodes

    def _nodes(self, raw: list[Any]) -> list[Node]:
        found: list[Node] = []
        ids: dict[str, int] = {}
        for index, entry in enumerate(raw):
            name = plain(entry.get("id")) if isinstance(entry, Mapping) else None
            good = name is not None and re.fullmatch(NAME, name) is not None
            if not good or self._is_broken("nodes", index, "id"):
                self._nodes_known = False
            if good and name is not None and name in ids:
                first = self._places.find(("nodes", ids[name])).line
                self._at("nodes", index, "id").problem(
                    "is taken", found=name, expected=f"another id: line {first} has it"
                )
                read_table(NODE, entry, self._at("nodes", index))
                continue
            if good and name is not None:
                ids[name] = index
                self._names[index] = name
            at = self._at("nodes", name if good and name is not None else index)
            values = read_table(NODE, entry, at)
            if values is not None:
                node = self._node(values, _valued(entry), at)
                if node is not None:
                    found.append(node)
                    continue
            self._nodes_known = False
        return found

    def _node(self, values: dict[str, Any], written: Mapping[str, Any], at: At) -> Node | None:
        if "id" not in values or "host" not in values:
            return None
        if "identity_file" in values:
            values["identity_file"] = self._beside(values["identity_file"])
        values.setdefault("become", values.get("user") not in (None, "root"))
        if self._caller.untrusted:
            self._check_given(values, at)
        node = Node(**values)
        if node.python and not node.is_local and not re.fullmatch(_PYTHON, node.python):
            at.sub("python").problem(
                "is not where root runs programs from",
                found=node.python,
                expected="a whole path beneath /usr, /bin or /opt, without `..`",
                hint="leave it out for /usr/bin/python3; a virtual environment goes to /opt:"
                " sudo python3 -m venv /opt/python",
            )
        # A wrong user or docker_url is told already.
        if node.is_astray and not {"user", "docker_url"} & (written.keys() - values.keys()):
            at.problem(
                "has no user, so it would be this machine, but its host is another one",
                found=f"host: {node.host}, docker_url: {node.docker_url}",
                expected="user: NAME for SSH, or host: localhost",
                hint="docker_url: tcp://host:port reaches an engine without SSH",
            )
        if node.id.lower() in LOCAL_HOSTS and not node.is_local:
            at.sub("id").problem(
                "means this machine to Ansible", found=node.id, expected="another id"
            )
        if self._caller.untrusted and node.is_local and not node.is_astray:
            at.problem(
                "is this machine, where an untrusted file has no say",
                found=f"host: {node.host}" + ("" if node.user else ", and no user"),
                expected="another machine, and a user for SSH",
            )
        return node

    def _check_given(self, values: dict[str, Any], at: At) -> None:
        """Of a stranger's node: keys and jump hosts are those that the caller gave, no others."""
        caller = self._caller
        values["given_keys"] = True
        wanted = values.get("identity_file")
        if wanted is None and len(caller.identity_files) == 1:
            values["identity_file"] = caller.identity_files[0]
        elif wanted is not None and wanted not in caller.identity_files:
            at.sub("identity_file").problem(
                "is a key that the caller did not give",
                found=wanted,
                hint=f"--identity-file {shlex.quote(wanted)}, if you know why",
            )
        jump = values.get("jump")
        if jump is not None and jump not in caller.jumps:
            at.sub("jump").problem(
                "is a host that the caller did not give",
                found=jump,
                hint=f"--jump {shlex.quote(jump)}, if you know why",
            )


def _valued(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def _with(problem: Problem, **changes: Any) -> Problem:
    return Problem(**{**vars(problem), **changes})
