# SPDX-License-Identifier: GPL-3.0-or-later
"""What compose files bring into otto.yaml: contents, extends, includes, stacks."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import content_digest
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

HEAD = """\
cluster: {name: home}
nodes: [{id: a, host: 10.0.0.1, user: pi}, {id: b, host: 10.0.0.2, user: pi}]
"""


def reversing(ciphertext: str) -> str:
    """A vault whose password is known to all."""
    if "lost" in ciphertext:
        raise OttoError("no vault password fits")
    return ciphertext.split("\n")[1].strip()[::-1]


class Folder:
    """A folder of files, and what Otto makes of its otto.yaml."""

    def __init__(self, path: Path, chdir: Callable[[Path], None]) -> None:
        self.path = path
        chdir(path)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.put(name + ".yaml", text)

    def put(self, name: str, text: str | bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, otto: str, **environ: str) -> Cluster:
        self.put("otto.yaml", HEAD + otto)
        return load_file("otto.yaml", environ=environ, vault=reversing)

    def refused(self, otto: str, **environ: str) -> str:
        with pytest.raises(ClusterFileError) as caught:
            self.read(otto, **environ)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path, monkeypatch.chdir)


# --- secrets and configs


def test_contents_come_from_file_variable_and_text(folder: Folder) -> None:
    folder.put("keys/raw", b"\xff\x00\n")
    folder.put("keys/vaulted", "$ANSIBLE_VAULT;1.1;AES256\nterces\n")
    folder.put(".env", "TOKEN=from-env\n")
    found = folder.read("""
secrets:
  raw: {file: keys/raw}
  vaulted: {file: ./keys/vaulted, name: other, labels: {a: b}}
  token: {environment: TOKEN}
  here: {content: !vault "$ANSIBLE_VAULT;1.1;AES256\\nereh"}
configs:
  page: {content: "  <h1>$TOKEN</h1>\\n"}
""")
    assert found.secrets == {
        "raw": b"\xff\x00\n",
        "vaulted": b"secret",
        "token": b"from-env",
        "here": b"here",
    }
    assert found.configs == {"page": b"  <h1>from-env</h1>\n"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{file: nowhere}", ("secrets.x.file", "is no file of this machine")),
        ("{file: .}", ("secrets.x.file", "is no file of this machine")),
        ("{file: large}", ("secrets.x", "larger than 500 KiB")),
        ("{file: lost}", ("secrets.x.file", "no vault password fits", "--ask-vault-pass")),
        ("{environment: TOKNE}", ("secrets.x.environment", "nearest   TOKEN")),
        ("{external: true}", ("secrets.x.external", "content: !vault")),
        ("{file: large, content: a}", ("secrets.x", "twice")),
        ("{}", ("secrets.x", "file, environment or content")),
        ("", ("secrets.x", "is not valid")),
        ("{contnet: s3cret}", ("nearest   content",)),
        ("{content: a, template_driver: golang}", ("only Swarm has it",)),
    ],
)
def test_contents_refused(folder: Folder, said: str, words: tuple[str, ...]) -> None:
    folder.put("large", b"x" * (500 * 1024 + 1))
    folder.put("lost", "$ANSIBLE_VAULT;1.1;AES256\nlost\n")
    page = folder.refused(f"secrets:\n  x: {said}\n", TOKEN="t")
    assert all(word in page for word in words), page
    assert page.startswith("otto.yaml:4: ")
    assert "s3cret" not in page


def test_contents_at_their_bound(folder: Folder) -> None:
    folder.put("large", b"x" * (500 * 1024))
    assert len(folder.read("configs: {x: {file: large}}").configs["x"]) == 500 * 1024


# --- extends

WEB = "services:\n  web: {image: nginx, node: a, "


def spec_of(folder: Folder, otto: str, service: str = "web", **environ: str) -> dict[str, Any]:
    found = {s.name: s for s in folder.read(otto, **environ).services}
    return dict(found[service].spec)


def test_extends_in_the_same_file_and_in_others(folder: Folder) -> None:
    """A chain over three files; every path is relative to the file that it stands in."""
    folder.put("common/base.env", "FROM=base\n")
    folder.write(
        **{
            "common/base": """
services:
  base:
    image: ${IMAGE}
    env_file: base.env
    extends: {file: ../root.yaml, service: root}
""",
            "root": "services: [{name: root, command: [sleep, inf], user: '1000'}]",
        }
    )
    otto = """
services:
  app: {extends: web, ports: ["81:80"]}
  web:
    node: a
    extends: {file: common/base.yaml, service: base}
    user: "0"
"""
    web, app = spec_of(folder, otto, IMAGE="nginx:1"), spec_of(folder, otto, "app", IMAGE="nginx:1")
    assert web == {
        "image": "nginx:1",
        "command": ["sleep", "inf"],
        "user": "0",
        "environment": {"FROM": "base"},
    }
    assert app == {
        **web,
        "ports": [{"target": 80, "published": 81, "host_ip": "", "protocol": "tcp"}],
    }


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ("command: a b", "command: c", {"command": ["c"]}),
        ("command: [a]", "command: ", {}),
        ("user: '1'", "user: ", {"user": "1"}),
        ("entrypoint: [a]", "entrypoint: [b]", {"entrypoint": ["b"]}),
        ("environment: {A: 1, B: 2}", "environment: [B=3]", {"environment": {"A": "1", "B": "3"}}),
        ("environment: [A=1, X=1]", "environment: [X]", {"environment": {"A": "1", "X": "x"}}),
        ("labels: [a=1]", "labels: {b: 2}", {"labels": {"a": "1", "b": "2"}}),
        ("dns: 1.1.1.1", "dns: [8.8.8.8, 1.1.1.1]", {"dns": ["1.1.1.1", "8.8.8.8"]}),
        ("cap_add: [A]", "cap_add: [B, A]", {"cap_add": ["A", "B"]}),
        ("tmpfs: ['/a:size=1m', /b]", "tmpfs: '/a:size=2m'",
         {"tmpfs": {"/a": "size=2m", "/b": ""}}),
        ("devices: [/dev/null:/x]", "devices: [/dev/zero:/x]", {"devices": ["/dev/zero:/x:rwm"]}),
        ("sysctls: [a=1]", "sysctls: {a: 2}", {"sysctls": {"a": "2"}}),
        ("extra_hosts: [a=10.0.0.1]", "extra_hosts: {b: 10.0.0.2}",
         {"extra_hosts": ["a:10.0.0.1", "b:10.0.0.2"]}),
        ("networks: [x, y]", "networks: {x: {aliases: [w]}}",
         {"networks": {"x": {"aliases": ["w"]}, "y": {}}}),
        ("logging: {driver: local, options: {a: 1}}", "logging: {options: {b: 2}}",
         {"logging": {"driver": "local", "options": {"a": "1", "b": "2"}}}),
        ("logging: {driver: local, options: {a: 1}}", "logging: {driver: none}",
         {"logging": {"driver": "none", "options": {}}}),
        ("healthcheck: {test: [CMD, a], retries: 3}", "healthcheck: {test: [CMD, b]}",
         {"healthcheck": {"test": ["CMD", "b"], "retries": 3}}),
        ("ulimits: {nofile: 10, nproc: 5}", "ulimits: {nofile: {soft: 1, hard: 2}}",
         {"ulimits": {"nofile": {"soft": 1, "hard": 2}, "nproc": {"soft": 5, "hard": 5}}}),
        ("cap_add: [A]", "cap_add: !override [B]", {"cap_add": ["B"]}),
        ("user: '1'", "user: !reset ", {}),
        ("user: '1'", "user: !reset null", {}),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset }", {"environment": {"B": "2"}}),
        ("x-note: a", "x-note: b", {}),
    ],
)  # fmt: skip
def test_merge_rules_are_composes(
    folder: Folder, base: str, over: str, expected: dict[str, Any]
) -> None:
    found = spec_of(
        folder,
        "networks: {x: , y: }\nservices:\n"
        f"  base:\n    image: n\n    node: b\n    {base}\n"
        f"  web:\n    extends: base\n    node: a\n    {over}\n",
        X="x",
    )
    assert found == {"image": "n", **expected}


def test_mounts_merge_by_their_target(folder: Folder) -> None:
    folder.write(
        base="""
services:
  base:
    image: nginx
    volumes: ["/one:/a", "data:/b", /anonymous]
    secrets: [key]
    ports: ["80:80"]
""",
    )
    found = spec_of(
        folder,
        """
services:
  web:
    node: a
    extends: {file: base.yaml, service: base}
    volumes: ["/two:/a:ro", {type: volume, source: other, target: /b}]
    secrets: [{source: key, mode: "0400"}]
    ports: ["80:80", "81:80"]
volumes: {other: }
secrets: {key: {content: s}}
""",
    )
    assert [(m["source"], m["target"]) for m in found["volumes"]] == [
        ("/two", "/a"),
        (None, "/anonymous"),
        ("other", "/b"),
    ]
    assert [(s["source"], s["mode"]) for s in found["secrets"]] == [("key", 0o400)]
    assert [p["published"] for p in found["ports"]] == [80, 81]


@pytest.mark.parametrize(
    ("otto", "words"),
    [
        ("services: {web: {image: n, node: a, extends: bsae}, base: {image: n, node: a}}",
         ["otto.yaml:3: services.web.extends", "nearest   base"]),
        ("services: {a1: {node: a, extends: b1}, b1: {node: a, extends: a1}}",
         ["goes in a circle: otto.yaml: a1 -> otto.yaml: b1 -> otto.yaml: a1", "1 problem"]),
        ("services: {web: {node: a, extends: {file: nowhere.yaml, service: x}}}",
         ["services.web.extends.file", "is no file of this machine", "1 problem"]),
        ("services: {web: {node: a, extends: {file: base.yaml, service: bad}}}",
         ["base.yaml:4: services.bad.restart", "1 problem in base.yaml"]),
        ("services: {web: {node: a, extends: {file: base.yaml, service: bad}},\n"
         "  web2: {node: a, extends: {file: base.yaml, service: bad}}}",
         ["base.yaml:4: services.bad.restart", "1 problem in base.yaml"]),
        ("services: {web: {node: a, extends: {file: base.yaml, service: bas}}}",
         ["is no service of base.yaml", "nearest   bad", "1 problem"]),
        ("services: {web: {node: a, extends: {file: base.yaml}}}", ["has no service"]),
        ("services: {web: {node: a, image: n, extends: [x]}}", ["services.web.extends"]),
        ("services: {web: {node: a, extends: {file: broken.yaml, service: x}}}",
         ["broken.yaml:1: services", "${NOPE}", "1 problem in broken.yaml"]),
        ("services: {web: {node: a, extends: {file: tabs.yaml, service: x}}}",
         ["tabs.yaml:2", "a tab", "1 problem in tabs.yaml"]),
    ],
)  # fmt: skip
def test_extends_refused(folder: Folder, otto: str, words: list[str]) -> None:
    folder.write(
        base="services:\n  bad:\n    image: nginx\n    restart: perhaps\n",
        broken="services: {x: {image: '${NOPE}'}}",
        tabs="services:\n\tx: y\n",
    )
    page = folder.refused(otto)
    assert all(word in page for word in words), page


def test_a_long_chain_ends(folder: Folder) -> None:
    chain = "".join(f"  s{i}: {{node: a, extends: s{i + 1}}}\n" for i in range(100))
    page = folder.refused(f"services:\n{chain}  s100: {{image: n, node: a}}\n")
    assert "more than 32" in page


def test_what_is_inherited_is_counted(folder: Folder) -> None:
    """A small file cannot come to more than memory holds."""
    labels = "".join(f"      l{i}: x\n" for i in range(5000))
    heirs = "".join(f"  s{i}: {{node: a, extends: base}}\n" for i in range(200))
    page = folder.refused(f"services:\n  base:\n    image: n\n    labels:\n{labels}{heirs}")
    assert "more than 500000 values" in page


# --- env_file and label_file


def test_env_files(folder: Folder) -> None:
    """The last file wins over those before, and environment over all; none of it is shown."""
    folder.put("one.env", "A=1\nB=1\nC=1\nexport D='$x'\nPASSED\nUNSET\n# note\nE=$A$OUT\n")
    folder.put("deep/two.env", "B=2\nC=2\n")
    folder.put("raw.env", "R='$a' # b\n")
    folder.put("vaulted.env", "$ANSIBLE_VAULT;1.1;AES256\nterces=V\n")
    otto = """
services:
  web:
    image: nginx
    node: a
    env_file:
      - one.env
      - {path: ./deep/two.env}
      - {path: nowhere.env, required: false}
      - {path: raw.env, format: raw}
      - vaulted.env
    environment: [C=3, PASSED]
  other: {image: nginx, node: a, env_file: deep/two.env, environment: {C: 3}}
"""
    found = folder.read(otto, OUT="out", PASSED="yes")
    web, other = found.services
    assert web.spec["environment"] == {
        "A": "1", "B": "2", "C": "3", "D": "$x", "E": "1out", "PASSED": "yes",
        "R": "'$a' # b", "V": "secret",
    }  # fmt: skip
    assert web.sensitive == {"A", "B", "D", "E", "R", "V"}
    assert other.spec["environment"] == {"B": "2", "C": "3"}
    assert other.sensitive == {"B"}


def test_label_file(folder: Folder) -> None:
    folder.put("labels", "team=blue\nzone=attic\n")
    found = spec_of(folder, WEB + "label_file: [labels], labels: {zone: cellar}}")
    assert found["labels"] == {"team": "blue", "zone": "cellar"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("env_file: nowhere", ["otto.yaml:4: services.web.env_file", "required: false"]),
        ("env_file: [bad.env]", ["bad.env:2", "KEY=value", "1 problem in bad.env"]),
        ("env_file: [{path: bad.env, form: raw}]", ["services.web.env_file[0].form", "format"]),
        ("env_file: [{path: bad.env, format: yaml}]", ["env_file[0].format", "raw"]),
        ("label_file: [nowhere]", ["services.web.label_file[0]"]),
        ("env_file: {a: b}", ["services.web.env_file"]),
        ("env_file: [[a]]", ["services.web.env_file[0]"]),
    ],
)
def test_env_file_refused(folder: Folder, said: str, words: list[str]) -> None:
    folder.put("bad.env", "A=1\ns3cret word\n")
    page = folder.refused(f"{WEB}{said}}}")
    assert all(word in page for word in words), page
    assert "s3cret" not in page


# --- profiles


@pytest.mark.parametrize(
    ("top", "environ", "expected"),
    [
        ("", "", "always"),
        ("profiles: [debug]", "", "always debug"),
        ("profiles: debug", "tools,", "always debug tools"),
        ("profiles: ['*']", "", "always debug tools"),
        ("", "*", "always debug tools"),
    ],
)
def test_profiles(folder: Folder, top: str, environ: str, expected: str) -> None:
    found = folder.read(
        f"""
{top}
services:
  always: {{image: n, node: a, depends_on: {{tools: {{required: false}}}}}}
  debug: {{image: n, node: a, profiles: [debug, more]}}
  tools: {{image: n, node: a, profiles: tools}}
""",
        COMPOSE_PROFILES=environ,
    )
    assert " ".join(service.name for service in found.services) == expected
    waits = found.services[0].spec["depends_on"]
    assert set(waits) == ({"tools"} if "tools" in expected else set())


def test_profiles_refused(folder: Folder) -> None:
    page = folder.refused(
        """
profiles: [debgu]
services:
  web: {image: n, node: a, depends_on: [db]}
  db: {image: n, node: a, profiles: [debug]}
"""
    )
    assert "otto.yaml:4: profiles[0]" in page
    assert "nearest   debug" in page
    assert "services.web.depends_on\n    is a service that no chosen profile runs" in page
    assert "profiles: [debug], or required: false" in page
    assert page.endswith("2 problems in otto.yaml")


# --- include


def test_include(folder: Folder) -> None:
    """What is included belongs to the file: networks, volumes, secrets; its own .env counts."""
    folder.put("db/.env", "TAG=7\nNAME=db\nPASSED=own\n")
    folder.put("db/key", "k")
    folder.write(
        **{
            "db/compose": """
services:
  redis:
    image: redis:${TAG}
    node: a
    environment: [PASSED]
    volumes: ["data:/data"]
    secrets: [key]
volumes: {data: }
secrets: {key: {file: key}}
""",
            "db/over": "services: {redis: {labels: {name: $NAME}}}",
        }
    )
    found = folder.read(
        """
include:
  - path: [db/compose.yaml, db/over.yaml]
services:
  web: {image: nginx, node: a, depends_on: [redis]}
""",
        TAG="8",
    )
    redis = next(s for s in found.services if s.name == "redis")
    assert redis.spec["image"] == "redis:8"
    assert redis.spec["labels"] == {"name": "db"}
    assert redis.spec["environment"] == {"PASSED": "own"}
    assert found.secrets == {"key": b"k"}
    assert targets(found)["a"].volumes["data"]["name"] == "home_data"


@pytest.mark.parametrize(
    ("otto", "words"),
    [
        ("include: [nowhere.yaml]", ["otto.yaml:3: include[0]", "is no file"]),
        ("include: [one.yaml]", ["two.yaml:1: include[0]", "one.yaml -> two.yaml -> one.yaml"]),
        ("include: [bad.yaml]", ["bad.yaml:1: services.web.imagee", "nearest   image"]),
        ("include: [good.yaml]\nservices: {web: {image: redis, node: a}}",
         ["otto.yaml:4: services.web", "is another service than the one of good.yaml, line 1"]),
        ("include: [{paht: a}]", ["include[0].paht", "nearest   path"]),
        ("include: [list.yaml]", ["list.yaml:1", "is no compose file"]),
    ],
)  # fmt: skip
def test_include_refused(folder: Folder, otto: str, words: list[str]) -> None:
    folder.write(
        one="include: [two.yaml]",
        two="include: [one.yaml]",
        bad="services: {web: {imagee: n, node: a}}",
        good="services: {web: {image: n, node: a}}",
        list="[a]",
    )
    page = folder.refused(otto)
    assert all(word in page for word in words), page


def test_included_twice_is_there_once(folder: Folder) -> None:
    folder.write(
        left="include: [common.yaml]",
        right="include: [common.yaml]",
        common="services: {x1: {image: n, node: a}}",
    )
    assert len(folder.read("include: [left.yaml, right.yaml]").services) == 1


def test_files_are_bounded(folder: Folder) -> None:
    """Each file names the next one twice: told, not read 2^20 times."""
    for i in range(20):
        folder.write(**{f"f{i}": f"include: [f{i + 1}.yaml, ./f{i + 1}.yaml]"})
    folder.write(f20="services: {}")
    assert "more than 256 files" in folder.refused("include: [f0.yaml]")


# --- stacks

JELLYFIN = """
name: media
version: "2"
services:
  jellyfin:
    image: nginx:${TAG}
    container_name: jelly
    volumes: ["cache:/cache", "./config:/config", "../shared:/shared:ro"]
    networks: [front, proxy]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: redis
    environment: [TAG, SHARED]
    secrets: [key]
    configs: [{source: conf, target: /etc/conf}]
  media: {image: nginx, network_mode: host, volumes_from: ["db:ro", "container:x"]}
  extra: {image: n, links: ["db:database"], profiles: [more]}
volumes: {cache: {labels: {a: b}}, music: {external: true, name: nas}}
networks: {front: , proxy: {external: true}, default: {driver: bridge}}
secrets: {key: {file: keys/key}}
configs: {conf: {content: "c"}}
"""


def test_stack(folder: Folder) -> None:
    """Names are compose's own, so that data is found again; services find each other by theirs."""
    folder.put("jellyfin/.env", "TAG=from-stack\nSHARED=stack\nNAME=x\n")
    folder.put(".env", "TAG=from-otto\nOTHER=o\n")
    folder.put("jellyfin/keys/key", "k")
    folder.put("jellyfin/compose.yaml", JELLYFIN)
    found = folder.read(
        """
stacks: [{compose: jellyfin/compose.yaml, node: a}]
services: {db: {image: redis, node: a}}
networks: {lan: {name: proxy}}
secrets: {key: {content: other}}
""",
        SHARED="process",
        COMPOSE_PROFILES="more",
    )
    assert {s.name: (s.alias, s.nodes) for s in found.services} == {
        "db": ("", ("a",)),
        "media-jellyfin": ("jellyfin", ("a",)),
        "media-db": ("db", ("a",)),
        "media": ("media", ("a",)),
        "media-extra": ("extra", ("a",)),
    }
    target = targets(found)["a"]
    jellyfin, db = target.services["media-jellyfin"], target.services["media-db"]
    assert jellyfin["image"] == "nginx:from-stack"
    assert jellyfin["container_name"] == "jelly"
    assert [(m["source"], m["target"]) for m in jellyfin["volumes"]] == [
        ("media_cache", "/cache"),
        ("/srv/media/config", "/config"),
        ("/srv/shared", "/shared"),
    ]
    assert list(jellyfin["depends_on"]) == ["media-db"]
    assert jellyfin["networks"] == {
        "media_front": {"aliases": ["jellyfin", "media-jellyfin"]},
        "lan": {"aliases": ["jellyfin", "media-jellyfin"]},
    }
    assert db["networks"] == {"media_default": {"aliases": ["db", "media-db"]}}
    assert db["environment"] == {"TAG": "from-stack", "SHARED": "process"}
    assert {key: n["name"] for key, n in target.networks.items()} == {
        "default": "home_default",
        "media_front": "media_front",
        "media_default": "media_default",
        "lan": "proxy",
    }
    assert target.networks["media_default"]["driver"] == "bridge"
    assert target.volumes == {
        "media_cache": {"name": "media_cache", "external": False, "labels": {"a": "b"}}
    }
    assert found.secrets == {"key": b"other", "media_key": b"k"}
    assert [s["source"] for s in db["secrets"] + db["configs"]] == ["media_key", "media_conf"]
    assert target.services["media"]["volumes_from"] == ["container:x:rw", "media-db:ro"]
    assert target.services["media-extra"]["links"] == ["media-db:database"]
    assert set(target.files) == {content_digest(b"k"), content_digest(b"c")}


@pytest.mark.parametrize(
    ("entry", "text", "env", "expected"),
    [
        ("", "", "", "mystack1_-"),
        ("", "", "COMPOSE_PROJECT_NAME=Other", "other"),
        ("", "name: $NAME", "NAME=written", "written"),
        (", name: own", "name: written", "", "own"),
    ],
)
def test_stack_has_the_projects_name(
    folder: Folder, entry: str, text: str, env: str, expected: str
) -> None:
    folder.put("_My stack.1_-/.env", env)
    folder.put("_My stack.1_-/compose.yaml", f"{text}\nservices: {{web: {{image: n}}}}\n")
    found = folder.read(
        f"stacks: [{{compose: _My stack.1_-/compose.yaml, node: a{entry}}}]",
        COMPOSE_PROJECT_NAME="not-this",
    )
    assert [s.name for s in found.services] == [f"{expected}-web"]


def test_stack_of_two_files_with_env_file_and_profiles(folder: Folder) -> None:
    folder.put("app/prod.env", "TAG=1")
    folder.put("app/.env", "TAG=not-read")
    folder.write(
        **{
            "app/compose": """
include: [more/inner.yaml]
services:
  web: {image: "n:$TAG", env_file: [prod.env], ports: ["80:80"]}
  debug: {image: n, profiles: [debug]}
""",
            "app/more/inner": "services: {inner: {image: n, env_file: i.env}}",
            "app/over": "services: {web: {ports: !override ['81:80']}}",
        }
    )
    folder.put("app/more/i.env", "I=1")
    found = folder.read(
        """
stacks:
  - compose: [app/compose.yaml, app/over.yaml]
    node: all
    env_file: app/prod.env
    profiles: [debug]
""",
    )
    web, debug, inner = found.services
    assert (web.name, web.nodes, web.spec["image"]) == ("app-web", ("a", "b"), "n:1")
    assert [p["published"] for p in web.spec["ports"]] == [81]
    assert (debug.name, inner.name) == ("app-debug", "app-inner")
    assert inner.spec["environment"] == {"I": "1"}
    assert web.sensitive == {"TAG"}


def test_files_beside_the_compose_file_are_carried(folder: Folder) -> None:
    """A file goes along, and so does what a read-only folder holds; other folders do not."""
    folder.put("mon/prometheus.yml", "scrape: []")
    folder.put("mon/run.sh", "#!/bin/sh\n")
    (folder.path / "mon/run.sh").chmod(0o755)
    folder.put("mon/dashboards/a/one.json", "1")
    folder.put("mon/dashboards/two.json", "2")
    folder.put(
        "mon/compose.yaml",
        """
services:
  prometheus:
    image: n
    volumes:
      - ./prometheus.yml:/etc/prometheus.yml
      - {type: bind, source: ./run.sh, target: /run.sh}
      - ./dashboards:/dash/:ro
      - ./data:/data
      - {type: bind, source: ../logs, target: /logs}
""",
    )
    found = folder.read("stacks: [{compose: mon/compose.yaml, node: a}]")
    spec = targets(found)["a"].services["mon-prometheus"]
    assert [(m["source"], m["target"]) for m in spec["volumes"]] == [
        ("/srv/mon/data", "/data"),
        ("/srv/logs", "/logs"),
    ]
    files = targets(found)["a"].files
    carried = {
        c["target"]: (base64.b64decode(files[c["digest"]]), c["mode"]) for c in spec["configs"]
    }
    assert carried == {
        "/etc/prometheus.yml": (b"scrape: []", 0o644),
        "/run.sh": (b"#!/bin/sh\n", 0o755),
        "/dash/a/one.json": (b"1", 0o644),
        "/dash/two.json": (b"2", 0o644),
    }
    there = folder.read("stacks: [{compose: mon/compose.yaml, node: a, directory: /opt/mon/}]")
    spec = targets(there)["a"].services["mon-prometheus"]
    assert "configs" not in spec
    assert [m["source"] for m in spec["volumes"]] == [
        "/opt/mon/dashboards", "/opt/mon/data", "/opt/mon/prometheus.yml", "/opt/logs",
        "/opt/mon/run.sh",
    ]  # fmt: skip


def test_awaited_to_its_end_runs_once(folder: Folder) -> None:
    """Compose files leave `restart` out of a migration, which Otto would start for ever."""
    folder.write(
        compose="""
name: app
services:
  web: {image: n, depends_on: {migrate: {condition: service_completed_successfully}}}
  migrate: {image: n}
""",
    )
    web, migrate = folder.read("stacks: [{compose: compose.yaml, node: a}]").services
    assert migrate.spec["restart"] == "no"
    assert "restart" not in web.spec


@pytest.mark.parametrize(
    ("otto", "words"),
    [
        ("stacks: {compose: x}", ["otto.yaml:3: stacks", "a list of entries"]),
        ("stacks: [app/compose.yaml]", ["stacks[0]", "a mapping with compose and node"]),
        ("stacks: [{node: a}]", ["stacks[0]", "has no compose"]),
        ("stacks: [{compose: nowhere.yaml, node: a}]", ["stacks[0].compose", "1 problem"]),
        ("stacks: [{compose: app/compose.yaml}]", ["stacks[0]", "has no node"]),
        ("stacks: [{compose: app/compose.yaml, node: c}]", ["stacks[0].node", "is no node"]),
        ("stacks: [{compose: app/compose.yaml, node: a, name: Up}]", ["stacks[0].name"]),
        ("stacks: [{compose: app/compose.yaml, node: a, profiles: [dbg]}]",
         ["stacks[0].profiles[0]", "nearest   debug"]),
        ("stacks: [{compose: app/compose.yaml, node: a}, {compose: app/compose.yaml, node: b}]",
         ["stacks[1]", "has the name of the stack of line 3", "name: says one"]),
        ("stacks: [{compose: app/compose.yaml, node: a}]\nservices: {app-web: {image: n, node: a}}",
         ["app/compose.yaml:2: services.web", "has the name of the service app-web (line 4)"]),
        ("stacks: [{compose: app/compose.yaml, node: a, name: home}]\n"
         "services: {web: {image: n, node: a}}",
         ["app/compose.yaml", "has the engine name of network default", "home_default"]),
        ("stacks: [{compose: app/compose.yaml, node: a}, {compose: bad.yaml, node: a, name: bad}]",
         ["bad.yaml:3: services.web.ports", "publishes a port of node a that service app-web",
          "(app/compose.yaml line 2)",
          "bad.yaml:4: services.web.networks", "nearest   front",
          "bad.yaml:5: services.web.node", "is no key of a service",
          "bad.yaml:6: services.web.build", "otto-run push",
          "bad.yaml:7: services.web.depends_on", 'found     "db"',
          "bad.yaml:9: services.web.links", 'found     "dbb"',
          "bad.yaml:8: services.web.volumes[0]", "directory: /srv/bad",
          "bad.yaml:11: cluster", "it belongs into otto.yaml",
          "bad.yaml:12: secrets.key.file", "10 problems"]),
    ],
)  # fmt: skip
def test_stack_refused(folder: Folder, otto: str, words: list[str]) -> None:
    folder.put("app/file", "x")
    folder.write(
        **{
            "app/compose": """services:
  web: {image: n, ports: ["80:80"]}
  d: {image: n, profiles: [debug]}
""",
            "bad": """services:
  web:
    ports: ["80:80"]
    networks: [frnt]
    node: a
    build: .
    depends_on: [db]
    volumes: ["./app:/app"]
    links: [dbb]
networks: {front: }
cluster: {name: x}
secrets: {key: {file: nokey}}
""",
        }
    )
    page = folder.refused(otto)
    assert all(word in page for word in words), page


def test_a_vaulted_compose_file_is_secret(folder: Folder) -> None:
    """Its variables are never shown, and what is wrong with it is told without values."""
    good = "{services: {web: {image: n, environment: {A: s3cret}}}}"
    bad = "{services: {web: {image: n, restart: s3cret}}}"
    for name, text in (("good", good), ("bad", bad)):
        folder.put(f"{name}/compose.yaml", f"$ANSIBLE_VAULT;1.1;AES256\n{text[::-1]}\n")
    found = folder.read("stacks: [{compose: good/compose.yaml, node: a}]")
    assert found.services[0].sensitive == {"A"}
    page = folder.refused("stacks: [{compose: bad/compose.yaml, node: a}]")
    assert page.startswith("bad/compose.yaml:1: services.web.restart\n")
    assert "(hidden)" in page
    assert "s3cret" not in page
