# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of strangers: each wants to read, run or write something on the control machine.

`{out}` is a folder outside of the repository, with files that nobody may see.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CANARY = "Kan4ri"
"""Stands in every file and variable that a stranger may not see."""
HEAD = "cluster: {name: home}\nnodes: [{id: a, host: 127.0.0.2, port: 9, user: pi}]\n"
WEB = "services: {web: {image: nginx}}\n"

OUTSIDE = {
    "secret.txt": f"{CANARY}\n",
    "secret.env": f"{CANARY}_KEY={CANARY}\n",
    "compose.yaml": f"services: {{xx: {{image: {CANARY}}}}}\n",
    ".env": f"TAG={CANARY}\n",
    "shadow": f"root:$6${CANARY}$hash:19000:0:99999:7:::\n",
    "id_rsa": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n",
    "ca.pem": f"-----BEGIN CERTIFICATE-----\n{CANARY}\n-----END CERTIFICATE-----\n",
    "kube.yaml": f"apiVersion: v1\nusers: [{{name: me, user: {{token: {CANARY}}}}}]\n",
    "folder/inner.txt": f"{CANARY}\n",
}
VARIABLE = "OTTO_TEST_CANARY"


@dataclass(frozen=True)
class Hostile:
    """files: path -> text. links: path -> where it leads. says: what the refusal says; "" for a
    file that is taken, and does no harm."""

    name: str
    files: Mapping[str, str]
    says: str
    links: Mapping[str, str] = field(default_factory=dict)
    pipes: tuple[str, ...] = ()

    def write(self, folder: Path, out: Path) -> Path:
        """Make the repository; the file that otto-run is given."""
        folder.mkdir(parents=True)
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{out}", str(out)))
        for name, target in self.links.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target.replace("{out}", str(out)))
        for name in self.pipes:
            os.mkfifo(folder / name)
        return folder / "otto.yaml"


def write_outside(out: Path) -> None:
    for name, text in OUTSIDE.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _otto(name: str, text: str, says: str, **more: str) -> Hostile:
    """A file with this text below the usual head; more: further files, __ for / and _dot_ for ."""
    return Hostile(name, {"otto.yaml": HEAD + text, **more}, says)


def _node(name: str, keys: str, says: str) -> Hostile:
    usual = {"id": "a", "host": "127.0.0.2", "port": "9", "user": "pi"}
    said = [f"{key}: {value}" for key, value in usual.items() if not keys.startswith(f"{key}:")]
    node = ", ".join([*said, keys])
    text = f"cluster: {{name: home}}\nnodes: [{{{node}}}]\n{WEB}"
    return Hostile(name, {"otto.yaml": text}, says)


def _whole(name: str, text: str, says: str) -> Hostile:
    return Hostile(name, {"otto.yaml": text}, says)


def _stack(
    name: str, compose: str, says: str, links: Mapping[str, str] | None = None, **more: str
) -> Hostile:
    files = {"otto.yaml": HEAD + "stacks: [{compose: shop/compose.yaml}]\n"}
    files["shop/compose.yaml"] = compose
    return Hostile(name, {**files, **more}, says, links or {})


_OUTSIDE = "lies outside of the folder"
_WITHHELD = "is set, and this file is not given it"
_SECRET = WEB + "secrets: {s: {file: %s}}\n"
_ENV_FILE = "services: {web: {image: nginx, env_file: %s}}\n"

FILES = (
    *(
        _otto(f"secret-{name}", _SECRET % path, _OUTSIDE)
        for name, path in (
            ("absolute", "'{out}/secret.txt'"),
            ("parent", "../out/secret.txt"),
            ("round-about", "x/../../out/secret.txt"),
            ("home", "~/.ssh/id_rsa"),
            ("environ", "/proc/self/environ"),
            ("shadow", "/etc/shadow"),
        )
    ),
    Hostile("secret-git", {"otto.yaml": HEAD + _SECRET % ".git/config", ".git/config": CANARY},
            "is Git's own"),
    Hostile("secret-link", {"otto.yaml": HEAD + _SECRET % "s.txt"}, _OUTSIDE,
            {"s.txt": "{out}/secret.txt"}),
    Hostile("secret-linked-folder", {"otto.yaml": HEAD + _SECRET % "d/secret.txt"}, _OUTSIDE,
            {"d": "{out}"}),
    Hostile("secret-two-links", {"otto.yaml": HEAD + _SECRET % "one"}, _OUTSIDE,
            {"one": "two", "two": "../out/secret.txt"}),
    Hostile("secret-pipe", {"otto.yaml": HEAD + _SECRET % "pipe"}, "is no file", pipes=("pipe",)),
    _otto("config-absolute", WEB + "configs: {s: {file: '{out}/secret.txt'}}\n", _OUTSIDE),
    _otto("password-file", WEB + "registries: {r.lan: {username: u, password_file: "
          "'{out}/secret.txt'}}\n", _OUTSIDE),
    _otto("ca", WEB + "mqtt: {host: b.lan, tls: {ca: '{out}/ca.pem'}}\n", _OUTSIDE),
    Hostile("ca-link", {"otto.yaml": HEAD + WEB + "mqtt: {host: b.lan, tls: {ca: ca.pem}}\n"},
            _OUTSIDE, {"ca.pem": "{out}/ca.pem"}),
    *(
        _otto(f"env-file-{name}", _ENV_FILE % text, _OUTSIDE)
        for name, text in (
            ("absolute", "'{out}/secret.env'"),
            ("parent", "../out/secret.env"),
            ("shadow", "'{out}/shadow'"),
            ("optional", "[{path: '{out}/secret.env', required: false}]"),
            ("raw", "[{path: '{out}/shadow', format: raw}]"),
        )
    ),
    Hostile("env-file-link", {"otto.yaml": HEAD + _ENV_FILE % "v.env"}, _OUTSIDE,
            {"v.env": "{out}/secret.env"}),
    _otto("label-file", "services: {web: {image: n, label_file: '{out}/secret.env'}}\n", _OUTSIDE),
    _otto("extends-absolute", "services: {web: {extends: {file: '{out}/compose.yaml', service: xx}}"
          "}\n", _OUTSIDE),
    _otto("extends-parent", "services: {web: {extends: {file: ../out/compose.yaml, service: xx}}"
          "}\n", _OUTSIDE),
    *(
        _otto(f"include-{name}", f"include: ['{{out}}/{name}']\n" + WEB, _OUTSIDE)
        for name in ("compose.yaml", "shadow", "id_rsa", "kube.yaml")
    ),
    Hostile("include-link", {"otto.yaml": HEAD + "include: [i.yaml]\n" + WEB}, _OUTSIDE,
            {"i.yaml": "{out}/compose.yaml"}),
    Hostile("include-project", {"otto.yaml": HEAD + "include: [{path: i.yaml, project_directory: "
            "'{out}'}]\n", "i.yaml": "services: {xx: {image: 'n:${TAG}'}}\n"}, _OUTSIDE),
    Hostile("include-env-file", {"otto.yaml": HEAD + "include: [{path: i.yaml, env_file: "
            "'{out}/.env'}]\n", "i.yaml": "services: {xx: {image: 'n:${TAG}'}}\n"}, _OUTSIDE),
    _otto("stack-absolute", "stacks: [{compose: '{out}/compose.yaml'}]\n", _OUTSIDE),
    _otto("stack-parent", "stacks: [{compose: ../out/compose.yaml}]\n", _OUTSIDE),
    Hostile("stack-linked-folder", {"otto.yaml": HEAD + "stacks: [{compose: s/compose.yaml}]\n"},
            _OUTSIDE, {"s": "{out}"}),
    Hostile("stack-env-file", {"otto.yaml": HEAD + "stacks: [{compose: s/c.yaml, env_file: "
            "'{out}/.env'}]\n", "s/c.yaml": "services: {xx: {image: 'n:${TAG}'}}\n"}, _OUTSIDE),
    _stack("stack-env-link", "services: {xx: {image: 'n:${TAG}'}}\n", _OUTSIDE,
           {"shop/.env": "{out}/.env"}),
    _stack("stack-env-link-to-the-neighbour", "services: {xx: {image: 'n:${TAG}'}}\n", _OUTSIDE,
           {"shop/.env": "../other/.env"}, **{"other/.env": f"TAG={CANARY}\n"}),
    _stack("stack-env-link-to-the-file's", "services: {xx: {image: 'n:${TAG}'}}\n", _OUTSIDE,
           {"shop/.env": "../.env"}, **{".env": f"TAG={CANARY}\n"}),
    _stack("stack-include-env-link", "include: [part/c.yaml]\n", _OUTSIDE,
           {"shop/part/.env": "../.env"}, **{"shop/.env": f"TAG={CANARY}\n",
           "shop/part/c.yaml": "services: {xx: {image: 'n:${TAG}'}}\n"}),
    _stack("stack-bind-file", "services: {xx: {image: n, volumes: ['../../out/secret.txt:/s']}}\n",
           _OUTSIDE),
    _stack("stack-bind-folder", "services: {xx: {image: n, volumes: ['../../out/folder:/s:ro']}}\n",
           _OUTSIDE),
    _stack("stack-bind-link", "services: {xx: {image: n, volumes: ['./s.txt:/s']}}\n", _OUTSIDE,
           {"shop/s.txt": "{out}/secret.txt"}),
    _stack("stack-bind-link-within", "services: {xx: {image: n, volumes: ['./d:/s:ro']}}\n",
           _OUTSIDE, {"shop/d/s.txt": "{out}/secret.txt"}),
    _stack("stack-bind-linked-folder", "services: {xx: {image: n, volumes: ['./d:/s:ro']}}\n",
           _OUTSIDE, {"shop/d": "{out}/folder"}),
    _stack("stack-of-the-neighbour", "services: {xx: {image: n, env_file: ../other/.env}}\n",
           _OUTSIDE, **{"other/.env": f"TAG={CANARY}\n"}),
    _stack("stack-secret", "services: {xx: {image: n}}\nsecrets: {s: {file: '{out}/secret.txt'}}\n",
           _OUTSIDE),
    Hostile("dot-env-link", {"otto.yaml": HEAD + "services: {web: {image: 'n:${TAG}'}}\n"},
            _OUTSIDE, {".env": "{out}/.env"}),
    Hostile("file-link", {}, _OUTSIDE, {"otto.yaml": "{out}/compose.yaml"}),
)  # fmt: skip

RUNS = (
    _otto("template-variable", WEB + "compose: {x: \"lookup('pipe', 'touch {out}/ran')\"}\n",
          "holds templates"),
    _otto("template-group", WEB + "groups: {x: \"lookup('pipe', 'touch {out}/ran')\"}\n",
          "holds templates"),
    _otto("template-keyed", WEB + "keyed_groups: [{key: \"lookup('pipe', 'touch {out}/ran')\"}]\n",
          "holds templates"),
    _whole("local", "cluster: {name: h}\nnodes: [{id: a, host: localhost}]\n" + WEB,
           "is this machine"),
    _whole("local-with-user", "cluster: {name: h}\nnodes: [{id: a, host: 127.0.0.1, user: pi}]\n"
           + WEB, "is this machine"),
    _whole("local-capitals", "cluster: {name: h}\nnodes: [{id: a, host: LocalHost, user: pi}]\n"
           + WEB, "is this machine"),
    _whole("no-user", "cluster: {name: h}\nnodes: [{id: a, host: 127.0.0.2}]\n" + WEB,
           "would be this machine"),
    _whole("engine-on-tcp", "cluster: {name: h}\nnodes: [{id: a, host: 127.0.0.2, docker_url: "
           "'tcp://127.0.0.2:2375'}]\n" + WEB, "is this machine"),
    _node("engine-by-ssh", "docker_url: 'ssh://x'", "is not valid"),
    _node("python", "python: '{out}/run.sh'", "names a program to run"),
    _node("python-template", "python: \"{{ lookup('pipe', 'touch {out}/ran') }}\"",
          "names a program to run"),
    _node("state-dir", "state_dir: /etc/cron.d", "names a directory to write to"),
    _node("identity", "identity_file: '{out}/id_rsa'", "that the caller did not give"),
    _node("jump", "jump: 'me@127.0.0.3'", "that the caller did not give"),
    _node("jump-itself", "jump: a", "that the caller did not give"),
    *(
        _node(f"{key}-{number}", f"{key}: {value}", f"nodes.a.{key}\n")
        for number, value in enumerate(
            ("-oProxyCommand=touch", "'x -oProxyCommand=touch'", "'$(touch {out}/ran)'",
             "'`touch {out}/ran`'", "'a;touch {out}/ran'", "\"a\\nProxyCommand touch\"")
        )
        for key in ("user", "host", "jump")
    ),
    _node("jump-second", "jump: 'a@h,-oProxyCommand=touch'", "is not valid"),
    _node("jump-user", "jump: 'a@-oProxyCommand'", "is not valid"),
    _node("port", "port: '22 -oProxyCommand=touch'", "is no whole number"),
    *(
        Hostile(name, {"otto.yaml": HEAD + WEB, f"{name}/all.yml": "ansible_connection: local\n"},
                f"has {name} beside it")
        for name in ("group_vars", "host_vars")
    ),
    _whole("tag-object", HEAD + WEB + "x-a: !!python/object/apply:os.system ['touch {out}/ran']\n",
           "python/object"),
    _whole("tag-module", HEAD + WEB + "x-a: !!python/module:os x\n", "python/module"),
    _otto("provider", "services: {web: {image: n, provider: {type: '{out}/run.sh'}}}\n",
          "runs a program"),
    _otto("build", "services: {web: {image: n, build: '{out}'}}\n", "builds no images"),
    _otto("credential-spec", "services: {web: {image: n, credential_spec: {file: '{out}/s'}}}\n",
          "Windows"),
    _otto("seccomp", "services: {web: {image: n, security_opt: ['seccomp={out}/secret.txt']}}\n",
          "security_opt"),
    _otto("not-for-the-file", WEB + "untrusted: 'false'\n", "is no key that is known here"),
    _otto("allow-in-the-file", WEB + "allow_files_from: /\n", "is no key that is known here"),
)  # fmt: skip

WRITES = (
    _whole("known-hosts", "cluster: {name: home, known_hosts: '{out}/authorized_keys'}\nnodes: "
           "[{id: a, host: 127.0.0.2, user: pi}]\n" + WEB, "says which hosts are trusted"),
    *(
        _whole(f"cluster-name-{number}", f"cluster: {{name: {name}}}\nnodes: [{{id: a, host: "
               f"127.0.0.2, user: pi}}]\n{WEB}", "cluster.name\n")
        for number, name in enumerate(("../../x", "/etc/x", "..", ".x", "'a/b'", "\"a\\0b\""))
    ),
    *(
        _whole(f"node-id-{number}", f"cluster: {{name: h}}\nnodes: [{{id: {name}, host: 127.0.0.2, "
               f"user: pi}}]\nservices: []\n", ".id\n")
        for number, name in enumerate(
            ("../../x", "'{{ x }}'", "'a:&b'", "'!a'", "'a,b'", "all", "localhost", "127.0.0.1")
        )
    ),
    _otto("service-name", "services: {../../x: {image: n}}\n", "is not valid"),
    _otto("secret-name", WEB + "secrets: {../../x: {content: y}}\n", "is no name"),
    _otto("stack-name", "stacks: [{compose: c.yaml, name: ../x}]\n", "is not valid",
          **{"c.yaml": "services: {xx: {image: n}}\n"}),
)  # fmt: skip

_STACK_VARIABLE = "services: {xx: {image: 'n:${%s}'}}\n"
VARIABLES = (
    *(
        _otto(f"variable-{name}", text.replace("V", VARIABLE), _WITHHELD)
        for name, text in (
            ("plain", "services: {web: {image: 'n:${V}'}}\n"),
            ("bare", "services: {web: {image: n, environment: {A: $V}}}\n"),
            ("default", "services: {web: {image: 'n:${V:-x}'}}\n"),
            ("other", "services: {web: {image: 'n:${V:+x}'}}\n"),
            ("nested", "services: {web: {image: 'n:${NONE:-${V}}'}}\n"),
            ("passed-on", "services: {web: {image: n, environment: [V]}}\n"),
            ("passed-on-mapping", "services: {web: {image: n, environment: {V: }}}\n"),
            ("hook", "services: {web: {image: n, post_start: [{command: x, environment: [V]}]}}\n"),
            ("secret", WEB + "secrets: {s: {environment: V}}\n"),
            ("config", WEB + "configs: {s: {environment: V}}\n"),
            ("content", WEB + "configs: {s: {content: '${V}'}}\n"),
            ("password", WEB + "registries: {r.lan: {username: u, password: '${V}'}}\n"),
        )
    ),
    _otto("variable-of-dot-env", "services: {web: {image: 'n:${T}'}}\n", _WITHHELD,
          **{".env": f"T=${{{VARIABLE}}}\n"}),
    _otto("variable-of-env-file", _ENV_FILE % "v.env", _WITHHELD, **{"v.env": f"{VARIABLE}\n"}),
    _otto("variable-in-env-file", _ENV_FILE % "v.env", _WITHHELD,
          **{"v.env": f"T=${VARIABLE}\n"}),
    _stack("variable-of-stack", _STACK_VARIABLE % VARIABLE, _WITHHELD),
    _stack("variable-of-the-file", _STACK_VARIABLE % "TAG", _WITHHELD, **{".env": "TAG=1\n"}),
    _otto("variable-of-include", "include: [i.yaml]\n", _WITHHELD,
          **{"i.yaml": _STACK_VARIABLE % VARIABLE}),
)  # fmt: skip

_JINJA = "{{ lookup('pipe', 'touch {out}/ran') }}"
_PYTHON = "open('{out}/ran', 'w')\n"
_SETTINGS = (
    "[defaults]\nlibrary = library\ncallback_plugins = callback_plugins\nstdout_callback = evil\n"
    "action_plugins = action_plugins\nlookup_plugins = lookup_plugins\n"
    "vars_plugins = vars_plugins\n"
    "filter_plugins = filter_plugins\nroles_path = roles\ncollections_path = collections\n"
    "[ssh_connection]\nssh_executable = ./ssh\n"
)
_PLUGINS = ("action", "callback", "connection", "filter", "inventory", "lookup", "vars")
_MODULES = (
    "json",
    "socket",
    "sitecustomize",
    "usercustomize",
    "yaml",
    "ansible",
    "otto_run",
    "click",
)
PLANTED: Mapping[str, str] = {
    "ansible.cfg": _SETTINGS,
    ".ansible.cfg": _SETTINGS,
    "ssh": "#!/bin/sh\ntouch {out}/ran\n",
    "library/target.py": _PYTHON,
    "roles/agent/tasks/main.yml": f'- debug: {{msg: "{_JINJA}"}}\n',
    "env/envvars": "ANSIBLE_SSH_EXECUTABLE: ./ssh\n",
    **{f"{kind}_plugins/{name}.py": _PYTHON for kind in _PLUGINS for name in ("evil", "target")},
    **{f"{module}.py": _PYTHON for module in _MODULES},
    **{
        f"{root}ansible_collections/otto/cluster/plugins/{kind}/{name}.py": _PYTHON
        for root in ("", "collections/")
        for kind, name in (("action", "target"), ("inventory", "otto"), ("modules", "node_info"))
    },
}
"""Beside the file: what Ansible, Python and SSH would take from a folder that they run in."""
TAKEN = (
    Hostile("planted", {"otto.yaml": HEAD + WEB, **PLANTED}, ""),
    _otto("jinja", f'services: {{web: {{image: n, command: ["{_JINJA}"], environment: {{A: '
          f'"{_JINJA}"}}, labels: {{l: "{_JINJA}"}}, hostname: h}}}}\n', ""),
    _node("jinja-label", f'labels: {{zone: "{_JINJA}"}}', ""),
    _otto("unsafe", f'services: {{web: {{image: n, command: [!unsafe "{_JINJA}"]}}}}\n', ""),
    _otto("jinja-secret", WEB + f'secrets: {{s: {{content: "{_JINJA}"}}}}\n', ""),
    _otto("jinja-broker", WEB + f'mqtt: {{host: 127.0.0.2, username: "{_JINJA}", password: "'
          f'{_JINJA}"}}\n', ""),
    _otto("extension", WEB + "x-plugin: {compose: \"lookup('pipe', 'touch {out}/ran')\"}\n", ""),
    _stack("own", "services: {xx: {image: 'n:${TAG}', env_file: v.env, volumes: ['./f:/f']}}\n", "",
           **{"shop/.env": "TAG=1\n", "shop/v.env": "A=1\n", "shop/f": "f\n"}),
)  # fmt: skip

REFUSED = (*FILES, *RUNS, *WRITES, *VARIABLES)
