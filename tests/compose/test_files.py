# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose files as they are: what the core makes of them."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils import cluster_schema
from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

from tests import compose

NODES = "  - {id: n1, host: 10.0.0.1, user: pi}\n  - {id: n2, host: 10.0.0.2, user: pi}"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("otto")
    file = folder / "otto.yaml"
    file.write_text(compose.otto_yaml(NODES, folder, ["n1", "n2"]))
    caller = Caller(folders=(str(compose.HERE),))
    return targets(load_file(str(file), environ={}, caller=caller))


def test_all_of_them_parse(both: dict[str, Target]) -> None:
    """Twenty and more, in one file, and nothing of them clashes."""
    assert len(compose.FILES) >= 20
    services = {name: spec for target in both.values() for name, spec in target.services.items()}
    assert len(services) == 41
    assert all("image" in spec for spec in services.values())


def test_schema_knows_stacks(tmp_path: Path) -> None:
    """An editor takes the file that Otto takes, and what a stack has not is underlined."""
    text = compose.otto_yaml(NODES, tmp_path, ["n1", "n2"])
    jsonschema.validate(yaml.safe_load(text), cluster_schema.schema())
    with pytest.raises(jsonschema.ValidationError):
        wrong = yaml.safe_load(text.replace("compose:", "file:"))
        jsonschema.validate(wrong, cluster_schema.schema())


def test_what_they_come_to(both: dict[str, Target]) -> None:
    """One fact of each file that is easy to get wrong."""
    services = {name: spec for target in both.values() for name, spec in target.services.items()}
    networks = {n["name"] for target in both.values() for n in target.networks.values()}
    volumes = {v["name"] for target in both.values() for v in target.volumes.values()}
    assert {"nextcloud_nextcloud", "nextcloud_db", "paper_redisdata", "legacy_files"} <= volumes
    assert {"media_arr", "gitea_gitea", "proxy", "nextcloud_default"} <= networks
    assert services["vaultwarden"]["environment"]["ADMIN_TOKEN"] == "$argon2id$v=19$m=65540$abc"
    assert services["paper-webserver"]["environment"]["PAPERLESS_OCR_LANGUAGE"] == "deu+eng"
    assert services["paper-webserver"]["environment"]["PAPERLESS_SECRET_KEY"] == "a long $ecret"
    assert services["immich-immich-machine-learning"]["group_add"] == ["44"]
    assert services["immich-database"]["volumes"][0]["source"] == "/srv/immich/postgres"
    assert services["workers-worker"]["replicas"] == 2
    assert services["workers-migrate"]["restart"] == "no"
    assert services["shop-catalog"]["environment"] == {"CATALOG_NAME": "toys"}
    assert services["media-prowlarr"]["environment"]["UMASK"] == "002"
    assert services["traefik"]["labels"]["traefik.http.middlewares.auth.basicauth.users"] == (
        "admin:$apr1$abc$0123456789"
    )
    assert [c["target"] for c in services["monitoring-grafana"]["configs"]] == [
        "/etc/grafana/provisioning/datasources/prometheus.yaml"
    ]
    assert {s["target"]: s["mode"] for s in services["auth-keycloak"]["secrets"]} == {
        "/run/secrets/db_password": 0o444,
        "/etc/tls/key.pem": 0o440,
    }
    assert set(services["toolbox-web"]["depends_on"]) == set()
    assert services["legacy-app"]["mem_limit"] == 64 * 1024**2


def test_secrets_go_where_they_are_used(both: dict[str, Target]) -> None:
    """Contents of one node's stacks are not on the other."""
    assert not set(both["n1"].files) & set(both["n2"].files)
    assert sum(len(target.files) for target in both.values()) == 7
    assert Path(compose.HERE / "auth/secrets/db_password.txt").read_text() == "hunter2"
