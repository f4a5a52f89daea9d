# SPDX-License-Identifier: GPL-3.0-or-later
"""What otto.yaml means, and what it says of a file that means nothing."""

from __future__ import annotations

import textwrap
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils import (
    cluster,
    cluster_file,
    cluster_schema,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
)

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"

SEED = """
cluster:
  name: home-cluster

mqtt:
  host: 192.168.2.1  # Control plane IP
  port: 1883

nodes:
  - id: local
    host: localhost
    user: null  # No SSH needed
    docker_url: unix:///var/run/docker.sock

  - id: rpi-01
    host: 192.168.2.7
    user: lolosioann  # SSH user
    docker_url: unix:///var/run/docker.sock

services:
  - name: test-nginx
    image: nginx:alpine
    node: rpi-01
    ports:
      - "8080:80"
    environment:
      NGINX_HOST: localhost

  - name: test-redis
    image: redis:alpine
    node: local
    command: redis-server --appendonly yes
"""

NODES = """
cluster: {name: home}
nodes:
  - {id: a, host: 10.0.0.1, user: pi, labels: {zone: attic, disk: ssd}}
  - {id: b, host: 10.0.0.2, user: root, labels: [zone=attic]}
  - {id: c, host: localhost}
"""


def parse(text: str, **environ: str) -> cluster.Cluster:
    return cluster_file.load_text(textwrap.dedent(text), "otto.yaml", environ=environ)


def refused(text: str, **environ: str) -> str:
    with pytest.raises(ClusterFileError) as caught:
        parse(text, **environ)
    return str(caught.value)


def no_password(ciphertext: str) -> str:
    assert ciphertext.startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    raise OttoError("no vault password fits")


@pytest.mark.parametrize("name", sorted(path.stem for path in BROKEN.glob("*.yaml")))
def test_broken_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each broken file gives exactly the page beside it."""
    monkeypatch.chdir(BROKEN)
    with pytest.raises(ClusterFileError) as caught:
        cluster_file.load_file(
            name + ".yaml",
            environ={"HOME_DIR": "/home/pi"},
            vault=None if name == "vaulted-file" else no_password,
        )
    assert str(caught.value) + "\n" == (BROKEN / f"{name}.txt").read_text("utf-8")


def test_seed() -> None:
    """The plan that Otto grew from is read as it stands."""
    found = parse(SEED)
    assert found.name == "home-cluster"
    assert found.mqtt == cluster.Mqtt("192.168.2.1", 1883)
    assert [(node.id, node.is_local, node.become) for node in found.nodes] == [
        ("local", True, False),
        ("rpi-01", False, True),
    ]
    nginx, redis = found.services
    assert (nginx.name, nginx.nodes) == ("test-nginx", ("rpi-01",))
    assert nginx.spec["ports"] == [
        {"target": 80, "published": 8080, "host_ip": "", "protocol": "tcp"}
    ]
    assert redis.spec["command"] == ["redis-server", "--appendonly", "yes"]


def test_services_as_mapping() -> None:
    """A compose mapping means the same as the seed's list."""
    as_list = parse(NODES + "services: [{name: web, image: nginx, node: a}]")
    as_mapping = parse(NODES + "services: {web: {image: nginx, node: a}, x-note: {}}")
    assert as_list.services == as_mapping.services


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("a", ("a",)),
        ("[c, a]", ("a", "c")),
        ("all", ("a", "b", "c")),
        ("{zone: attic}", ("a", "b")),
        ("{zone: attic, disk: ssd}", ("a",)),
    ],
)
def test_placement(node: str, expected: tuple[str, ...]) -> None:
    """An id, a list of ids, all, or labels that all have to fit."""
    found = parse(NODES + f"services: {{web: {{image: nginx, node: {node}}}}}")
    assert found.services[0].nodes == expected


def test_placement_on_the_only_node() -> None:
    """With one node, where to run needs no saying."""
    found = parse("""
        cluster: {name: home}
        nodes: [{id: only, host: localhost}]
        services: {web: {image: nginx}}
        """)
    assert found.services[0].nodes == ("only",)


def test_engine_on_tcp_is_local() -> None:
    """A host without a user is managed from here where docker_url reaches its engine."""
    found = parse("""
        cluster: {name: home}
        nodes: [{id: nas, host: 10.0.0.6, docker_url: "tcp://10.0.0.6:2375"}]
        """)
    assert found.nodes[0].is_local


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Key and known_hosts are found from wherever otto is started."""
    file = tmp_path / "otto.yaml"
    file.write_text("""
cluster: {name: home, known_hosts: keys/known_hosts}
nodes: [{id: a, host: 10.0.0.1, user: pi, identity_file: ~/key}]
""")
    found = cluster_file.load_file(str(file), environ={})
    assert found.known_hosts == str(tmp_path / "keys" / "known_hosts")
    assert found.nodes[0].identity_file == str(Path("~/key").expanduser())


def test_env_file_beside_the_file(tmp_path: Path) -> None:
    """Variables come from .env, and the environment wins over it."""
    (tmp_path / ".env").write_text("TAG=from-file\nNAME=home\n")
    (tmp_path / "otto.yaml").write_text(
        "cluster: {name: $NAME}\nnodes: [{id: a, host: localhost}]\n"
        "services: {web: {image: 'nginx:${TAG}', environment: [NAME]}}\n"
    )
    found = cluster_file.load_file(str(tmp_path / "otto.yaml"), environ={"TAG": "from-env"})
    assert found.name == "home"
    assert found.services[0].spec["image"] == "nginx:from-env"
    assert found.services[0].spec["environment"] == {"NAME": "home"}


def test_broken_env_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nnonsense\n")
    (tmp_path / "otto.yaml").write_text(NODES)
    with pytest.raises(ClusterFileError) as caught:
        cluster_file.load_file(str(tmp_path / "otto.yaml"), environ={})
    assert str(caught.value).startswith(f"{tmp_path}/.env:2\n")


def test_missing_file_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ClusterFileError, match="No such file") as caught:
        cluster_file.load_file(str(tmp_path / "otto.yaml"), environ={})
    assert "otto-run init" in str(caught.value)


VAULTED = (
    NODES
    + """
services:
  web:
    image: nginx
    node: a
    environment:
      OPEN: yes
      PASSWORD: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
      PORTS: x
  listed:
    image: nginx
    node: a
    environment:
      - OPEN=yes
      - !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
"""
)


def test_variables_of_hooks_that_sound_secret_are_sensitive() -> None:
    web = "{image: nginx, node: a, post_start: [{command: c, environment: {HOOK_TOKEN: b, M: x}}]}"
    found = cluster_file.load_text(
        NODES + f"services: {{web: {web}}}", "otto.yaml", environ={}, vault=None
    )
    assert found.services[0].sensitive == {"HOOK_TOKEN"}


def test_vaulted_variables_are_sensitive() -> None:
    """Mapping or list, a vaulted variable is known by its name."""
    found = cluster_file.load_text(
        VAULTED, "otto.yaml", environ={}, vault=lambda _: "TOKEN=s3cret $notavariable"
    )
    web, listed = found.services
    assert web.sensitive == {"PASSWORD"}
    assert web.spec["environment"]["PASSWORD"] == "TOKEN=s3cret $notavariable"
    assert listed.sensitive == {"TOKEN"}
    assert listed.spec["environment"]["TOKEN"] == "s3cret $notavariable"


def test_vaulted_file_hides_every_variable() -> None:
    plain = NODES + "services: {web: {image: nginx, node: a, environment: {A: b}}}"
    found = cluster_file.load_text(
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "otto.yaml", environ={}, vault=lambda _: plain
    )
    assert found.services[0].sensitive == {"A"}


@pytest.mark.parametrize("whole", [True, False])
def test_secrets_stay_out_of_errors(whole: bool) -> None:
    """A secret that is wrong is named by its place only."""
    text = NODES.replace("user: root", "user: !vault $ANSIBLE_VAULT;x")
    secret = "not a user s3cret"
    with pytest.raises(ClusterFileError) as caught:
        cluster_file.load_text(
            "$ANSIBLE_VAULT;x" if whole else text,
            "otto.yaml",
            environ={},
            vault=lambda _: NODES.replace("user: root", f"user: {secret}") if whole else secret,
        )
    assert "nodes.b.user" in str(caught.value)
    assert "(hidden)" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_jinja_is_text() -> None:
    """Braces mean nothing, so a healthcheck may hold them."""
    found = parse(
        NODES + "services: {web: {image: nginx, node: a, command: [echo, '{{ a }}', '{% b %}']}}"
    )
    assert found.services[0].spec["command"] == ["echo", "{{ a }}", "{% b %}"]


def test_dollar_in_ansibles_own_keys() -> None:
    """An expression of the inventory may hold a regular expression."""
    found = parse(NODES + "groups: {web: inventory_hostname is match('^a$')}")
    assert found.inventory == {"groups": {"web": "inventory_hostname is match('^a$')"}}


def test_empty_services_need_saying() -> None:
    """`services:` with all of it commented out does not remove what runs."""
    assert "services: []" in refused(NODES + "services:\n")
    assert parse(NODES + "services: []\n").services == ()


def test_ports_on_other_addresses_do_not_clash() -> None:
    parse(
        NODES
        + """
services:
  one: {image: nginx, node: a, ports: ["127.0.0.1:80:80", "53:53/udp"]}
  two: {image: nginx, node: a, ports: ["10.0.0.1:80:80", "53:53/tcp"]}
  three: {image: nginx, node: b, ports: ["80:80"]}
"""
    )


def test_clash_is_told_once() -> None:
    """Two services on fifty nodes that want one port are one problem."""
    nodes = "\n".join(f"  - {{id: n{i}, host: 10.0.0.{i}, user: pi}}" for i in range(50))
    page = refused(
        f"cluster: {{name: home}}\nnodes:\n{nodes}\n"
        "services:\n"
        "  one: {image: nginx, node: all, ports: ['80:80']}\n"
        "  two: {image: nginx, node: all, ports: ['80:80']}\n"
    )
    assert page.endswith("1 problem in otto.yaml")


def test_wrong_node_spoils_no_service() -> None:
    """A node that cannot be read is one problem, not one more for each service on it."""
    page = refused(
        "cluster: {name: home}\nnodes: [{id: a, hots: 10.0.0.1, user: pi}]\n"
        "services: {web: {image: nginx, node: a}}\n"
    )
    assert page.endswith("1 problem in otto.yaml")
    assert "nearest   host" in page


def test_line_of_a_merged_key() -> None:
    """What an anchor brings is wrong where it was typed."""
    page = refused(
        NODES
        + "x-common: &common\n  restart: perhaps\n"
        + "services:\n  web: {<<: *common, image: nginx, node: a}\n"
    )
    assert page.startswith("otto.yaml:8: services.web.restart\n")


def test_schema_accepts_what_the_parser_accepts() -> None:
    """The schema is valid, and takes the seed, the examples and the demo cluster."""
    schema = cluster_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    texts = [path.read_text() for path in (ROOT / "examples").glob("*.yaml")]
    for text in (SEED, NODES, (ROOT / "otto.yaml").read_text(), *texts):
        parse(text)
        jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("id: local", "id: a b"), "nodes"),
        (("host: localhost", "hots: localhost"), "nodes"),
        (("image: nginx:alpine", "imagee: nginx:alpine"), "services"),
        (("port: 1883", "port: 99999"), "mqtt"),
        (("mqtt:", "mqttt:"), None),
    ],
)
def test_schema_refuses_what_the_parser_refuses(change: tuple[str, str], where: str | None) -> None:
    text = SEED.replace(*change)
    refused(text)
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(yaml.safe_load(text), cluster_schema.schema())
    assert (list(caught.value.absolute_path) or [None])[0] == where


def test_schema_describes_every_key() -> None:
    """An editor has something to show for each key."""
    schema = cluster_schema.schema()
    for part in (schema, schema["$defs"]["service"]):
        for key, value in part["properties"].items():
            assert value.get("description"), key
