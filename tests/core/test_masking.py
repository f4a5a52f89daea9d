# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a secret, by its name, by how it is written, by its value; and that no plan shows it."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.carry_out import shortened
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.edge import diff_of
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError, OttoError
from ansible_collections.otto.cluster.plugins.module_utils.known_secrets import of_target
from ansible_collections.otto.cluster.plugins.module_utils.masking import (
    HIDDEN,
    in_command,
    in_text,
    masked,
    masked_tree,
    shown,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Change,
    Target,
    content_digest,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.plan import labels_for, plan
from ansible_collections.otto.cluster.plugins.module_utils.plan_values import Trouble
from ansible_collections.otto.cluster.plugins.module_utils.secret_names import sounds_secret
from ansible_collections.otto.cluster.plugins.module_utils.secret_variables import Variables
from hypothesis import assume, given
from hypothesis import strategies as st

from .model_engine import ModelEngine
from .test_plan import engine, spec

# --- names ---------------------------------------------------------------------------------------

SECRET = [
    "DB_PASSWORD", "MYSQL_PASSWD", "api_token", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
    "API_KEY", "APIKEY", "SSHKEY", "PRIVATEKEY", "MASTERKEY", "ENCRYPTION_KEY", "SECRET_KEY_BASE",
    "APP_KEYS", "KEY", "DB_PASS", "SMTP_PWD", "DBPASS", "REQUIREPASS", "PASS", "PASSPHRASE",
    "PASSCODE", "ADMIN_PW", "PW", "PGPASSWORD", "PASSWORD2", "SENTRY_DSN", "DSN", "REGISTRY_AUTH",
    "HTTP_AUTH", "JWT", "JWT_SECRET", "HMAC", "WIFI_PSK", "RABBITMQ_ERLANG_COOKIE",
    "SESSION_COOKIE", "DISCORD_WEBHOOK", "SLACK_WEBHOOK_URL", "CREDENTIALS", "DB_CREDS",
    "PASSWORD_SALT", "VAULT_SECRET_ID", "apiKey", "dbPassword", "accessKeyId", "db-password",
    "homepage.widget.key", "X-Api-Key", "traefik.http.middlewares.a.basicauth.users",
    "PUBLIC_KEY_PASSWORD", "MONKEY_KEY", "KEYSTORE_PASSWORD", "KEYCLOAK_ADMIN_PASSWORD",
    "PASSWORD_HASH", "Authorization", "TOTP_SECRET", "splunk-token", "PASSWORD_FILE_PASSWORD",
    "VALKEY_PASSWORD", "requirepass", "password",
]  # fmt: skip
HARMLESS = [
    "PWD", "OLDPWD", "COMPASS", "COMPASS_HOST", "KEYBOARD", "KEYBOARD_LAYOUT", "MONKEY",
    "KEYCLOAK_URL", "KEYCLOAK_HOSTNAME", "PASSIVE", "PASSIVE_PORTS", "PASV_ADDRESS", "PUBLIC_KEY",
    "VAPID_PUBLIC_KEY", "SSH_PUBKEY", "STRIPE_PUBLISHABLE_KEY", "DB_PASSWORD_FILE",
    "SSL_KEY_FILE", "TLS_KEYFILE", "PRIVATE_KEY_PATH", "SECRETS_DIR", "MODE", "HOST",
    "VALKEY_HOST", "KEYDB_URL", "KEYSPACE", "BYPASS_CACHE", "AUTH_URL", "AUTH_ENABLED",
    "COOKIE_DOMAIN", "PASSWORD_LENGTH", "TOKEN_TTL", "JWT_ALGORITHM", "TOKEN_TYPE",
    "PASSENGER_COUNT", "PATH", "POSTGRES_USER", "ask-vault-pass", "DATABASE_URL", '""', "1", "_",
    "HOTKEY", "TURKEY", "AUTHOR", "MONKEYS",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_a_name_that_says_secret(name: str) -> None:
    assert sounds_secret(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_false_friend(name: str) -> None:
    assert not sounds_secret(name)


# --- how it is written ---------------------------------------------------------------------------

WRITTEN = {
    "DATABASE_URL=postgres://u:{}@h/db": "DATABASE_URL=postgres://u:(hidden)@h/db",
    "redis://:{}@h": "redis://:(hidden)@h",
    "amqp://u:{}@h1,amqp://u:{}@h2": "amqp://u:(hidden)@h1,amqp://u:(hidden)@h2",
    "mongodb://u:{}@h1:27017,h2:27017/db": "mongodb://u:(hidden)@h1:27017,h2:27017/db",
    "x postgres+psycopg2://u:{}@[::1]:5432/db?sslmode=off y": (
        "x postgres+psycopg2://u:(hidden)@[::1]:5432/db?sslmode=off y"
    ),
    "https://h/a?password={}&user=b": "https://h/a?password=(hidden)&user=b",
    "https://h/?a=1&token={}#part": "https://h/?a=1&token=(hidden)",
    "https://h/?api_key={}": "https://h/?api_key=(hidden)",
    "jdbc:sqlserver://h;user=a;password={};database=c": (
        "jdbc:sqlserver://h;user=a;password=(hidden);database=c"
    ),
    "username=ann,password={},vers=3.0": "username=ann,password=(hidden),vers=3.0",
    "host=h password={} dbname=y": "host=h password=(hidden) dbname=y",
    "PASSWORD='{} x' run": "PASSWORD='(hidden)' run",
    'sh -c "DB_PASSWORD={} run"': 'sh -c "DB_PASSWORD=(hidden) run"',
    "--requirepass {} --port 1": "--requirepass (hidden) --port 1",
    "--api-key={} -v": "--api-key=(hidden) -v",
    "Authorization: Bearer {}": "Authorization: Bearer (hidden)",
    "curl -H 'X-Api-Key: {}' h": "curl -H 'X-Api-Key: (hidden)' h",
    '{{"password": "{}", "user": "x"}}': '{{"password": "(hidden)", "user": "x"}}',
    "https://hooks.slack.com/services/{}": "https://hooks.slack.com/services/(hidden)",
    "https://discord.com/api/webhooks/{}": "https://discord.com/api/webhooks/(hidden)",
    "https://{}@sentry.io/1": "https://(hidden)@sentry.io/1",
}


@pytest.mark.parametrize(("text", "told"), WRITTEN.items())
def test_a_secret_is_known_by_how_it_is_written(text: str, told: str) -> None:
    assert in_text(text.format(*["k3y0123456789abcdef"] * 2)) == told.format()


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "pa'ss", 'pa"ss', "pa#ss", "pa?ss", "1234"])
def test_a_password_that_should_have_been_url_quoted_is_hidden_too(password: str) -> None:
    assert in_text(f"postgres://u:{password}@h/db") == "postgres://u:(hidden)@h/db"


@pytest.mark.parametrize(
    "text",
    [
        "http://registry:4873/@scope/package",
        "http://10.0.0.1:8080/a@b",
        "ssh://git@host/repository",
        "mysql://u:${DB_PASSWORD}@h/db",
        "PASSWORD=$PASSWORD --token ${TOKEN:?is needed}",
        "export DB_PASSWORD=..., or write DB_PASSWORD=... into .env",
        "a password: wrong",
        "the token is not valid (Basic authentication is asked for)",
        "type --ask-vault-pass or --vault-password-file secrets/key",
        "nginx -g 'daemon off;'",
        "8080:80, 127.0.0.1:53:53/udp",
        "sha256:0123456789abcdef",
        "nginx:alpine@sha256:0123",
        "monkey=1&keyboard=us",
        "key",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert in_text(text) == text


def test_words_of_a_command_are_hidden_whole_whatever_is_in_them() -> None:
    words = ["redis", "--requirepass", "a b'c\"d", "--x=postgres://u:p@h", "--token", "--next"]
    assert in_command(words) == [
        *("redis", "--requirepass", HIDDEN, "--x=postgres://u:(hidden)@h", "--token", "--next")
    ]
    assert shown("command", """redis --requirepass 'a b'"'"'c"d' -v""") == (
        "redis --requirepass (hidden) -v"
    )


@given(st.text(max_size=300) | st.text("ab=:/@?&-'\" ,;\\%", max_size=80))
def test_any_text_is_masked_once_and_for_all(text: str) -> None:
    """Nothing raises, and what is masked stays as it is."""
    once = in_text(text)
    assert in_text(once) == once
    assert isinstance(masked(text, ["secret"]), str)


@pytest.mark.parametrize(
    "piece",
    ["a", "a-", "://a:", "://", ",a", "password=", '"a":', "Bearer ", 'a="', "--a ", "\\u", "%41"],
)
def test_no_text_takes_long(piece: str) -> None:
    """64 KiB of the worst that a node may say: some seconds at most, not minutes."""
    text = piece * (65_536 // len(piece))
    begun = time.monotonic()
    masked(text, ["s3cret value"])
    assert time.monotonic() - begun < 10


# --- a value that is known -----------------------------------------------------------------------

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 without padding": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 in lines": lambda s: base64.encodebytes((s * 9).encode()).decode(),
    "base64 in a path": lambda s: "/etc/x/" + base64.urlsafe_b64encode(s.encode()).decode(),
    "login": lambda s: base64.b64encode(f"ann:{s}".encode()).decode(),
    "long login": lambda s: base64.b64encode(f"annie:{s}:more".encode()).decode().rstrip("="),
    "base64 twice": lambda s: base64.b64encode(base64.b64encode(s.encode())).decode(),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda s: json.dumps(s, ensure_ascii=False),
    "base64 of JSON": lambda s: base64.b64encode(json.dumps({"a": s}).encode()).decode(),
    "URL": lambda s: urllib.parse.quote(s, safe=""),
    "form": urllib.parse.quote_plus,
    "URL in lower case": lambda s: "".join(f"%{byte:02x}" for byte in s.encode()),
    "base64 of URL": lambda s: base64.b64encode(urllib.parse.quote(s).encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@given(secret=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=6, max_size=40))
def test_a_known_secret_is_found_in_every_form(form: Callable[[str], str], secret: str) -> None:
    assume(secret not in HIDDEN)
    written = form(secret)
    told = masked(f"<<{written}>>", [secret])
    assert written.strip() not in told
    assert secret not in told
    assert HIDDEN in told
    assert told.startswith("<<")
    assert told.endswith(">>")


@given(st.text("abcdefghij klmnopqrstuvwxyz\n", max_size=200))
def test_prose_without_it_stays(text: str) -> None:
    assert masked(text, ["S3CRET-VALUE", "other@value"]) == text


def test_what_is_short_does_not_riddle_a_text() -> None:
    text = "admin logged in 1 time; true"
    assert masked(text, ["admin", "1", "true", "x"]) == text
    assert shown("environment.ADMIN_PASSWORD", "admin") == HIDDEN
    assert masked_tree({"password": "1", "port": "1"}, ["1"]) == {"password": HIDDEN, "port": "1"}


def test_a_name_that_is_somebodys_password_stays_a_name() -> None:
    """`postgres` is the image, the volume and the password of half the world."""
    known = ["postgres"]
    assert shown("image", "postgres:17", known) == "postgres:17"
    assert shown("command", "postgres -c x=1", known) == "(hidden) -c x=1"


def test_a_target_knows_its_secrets_and_what_is_there_too() -> None:
    content = b"first line\nshort\nsecond line"
    name = content_digest(content)
    web = spec(
        environment={
            "API_TOKEN": "token-value", "PLAIN": "plain-value", "ADMIN_PW": "short",
            "URL": "postgres://u:p%40ss-word@h", "LINES": "line one\nline two",
        },
        labels={"homepage.key": "label-value"},
        command=["redis-server", "--requirepass", "flag-value"],
        healthcheck={"test": "curl h?token=health-value"},
        post_start=[{"command": ["true"], "environment": {"HOOK_KEY": "hook-value"}}],
    )  # fmt: skip
    web["secrets"] = [{"source": "s", "target": "/s", "mode": 0o444, "digest": name}]
    wanted = Target(
        "home", "n1", {"web": web}, sensitive={"web": ("LINES",)},
        volumes={"v": {"name": "v", "driver_opts": {"o": "username=a,password=share-value"}}},
        files={name: base64.b64encode(content).decode()},
    )  # fmt: skip
    node = engine()
    node.carry_out(Target("home", "n1", {"old": spec(environment={"OLD_KEY": "value-before"})}))
    found = of_target(wanted, node.observe())
    assert {
        *("token-value", "p%40ss-word", "p@ss-word", "line one", "line two", "label-value"),
        *("flag-value", "health-value", "hook-value", "first line", "second line", "share-value"),
        "value-before",
    } == set(found)
    assert list(found) == sorted(found, key=lambda text: (-len(text), text))


# --- no plan shows one ---------------------------------------------------------------------------

ADDRESS = "postgres://app:{}@db/app"
OPEN: dict[str, Callable[[str], Any]] = {
    "environment": lambda s: {"DATABASE_URL": ADDRESS.format(s), "API_TOKEN": s, "ECHO": s},
    "command": lambda s: ["run", "--token", s, ADDRESS.format(s)],
    "entrypoint": lambda s: ["sh", "-c", f"PASSWORD='{s}' run {ADDRESS.format(s)}"],
    "labels": lambda s: {"homepage.widget.key": s, "url": ADDRESS.format(s)},
    "annotations": lambda s: {"url": ADDRESS.format(s), "api-key": s},
    "healthcheck": lambda s: {"test": f"curl -H 'X-Api-Key: {s}' h?password={s}"},
    "logging": lambda s: {"driver": "splunk", "options": {"splunk-token": s, "url": f"h?key={s}"}},
    "post_start": lambda s: [{"command": ["run", ADDRESS.format(s)], "environment": {"KEY": s}}],
    "pre_stop": lambda s: [{"command": ["run", ADDRESS.format(s)], "environment": {"KEY": s}}],
    "storage_opt": lambda s: {"size": "1g", "token": s},
    "extra_hosts": lambda _: {"h": "10.0.0.1"},
}
"""Options whose values are people's own text, with a secret in every way that they can hold one."""
CLOSED = set(OPTIONS) - set(OPEN)
"""All others hold names, numbers, paths and words of the engine's."""


def test_every_option_with_a_text_of_peoples_own_is_asked() -> None:
    """An option that is added has to say on which side it is."""
    own = {name for name, option in OPTIONS.items() if _takes_free_text(option.schema)}
    assert own - {"sysctls", "ulimits", "blkio_config", "deploy", "networks"} <= set(OPEN) | {
        *("links", "volumes_from", "volumes", "ports", "expose", "tmpfs", "devices", "gpus"),
        *("dns", "dns_opt", "dns_search", "group_add", "device_cgroup_rules", "security_opt"),
        *("cap_add", "cap_drop", "depends_on", "secrets", "configs"),
    }


def _takes_free_text(schema: Any) -> bool:
    text = json.dumps(schema)
    return "additionalProperties" in text or '"array"' in text


OLD, NEW, LIVE = "0ld-canary-7f3a", "n3w-canary-9c1b", "l1ve-canary-55d2"


def of(secret: str) -> dict[str, Any]:
    # The engine in memory is too old for annotations.
    return spec(**{name: make(secret) for name, make in OPEN.items() if name != "annotations"})


def target(secret: str, **more: Any) -> Target:
    volume = {"type": "cifs", "o": f"username=ann,password={secret},vers=3.0"}
    return Target(
        "home", "n1", {"web": {**of(secret), **more}},
        networks={"front": {"name": "home_front", "driver_opts": {"key": secret}}},
        volumes={"data": {"name": "home_data", "driver_opts": volume}},
        sensitive={"web": ("API_TOKEN", "KEY")},
    )  # fmt: skip


def said(found: Any) -> str:
    """All that is ever said of a plan: its lines, its JSON, its diff, itself."""
    document = found.to_json()
    return "\n".join([*found.lines(), json.dumps(document), *diff_of(document).values(),
                      repr(found.services), repr(found.troubles), repr(found.notes)])  # fmt: skip


def canaries_in(text: str) -> list[str]:
    plain = [canary for canary in (OLD, NEW, LIVE) if canary in text]
    return plain or [text for canary in (OLD, NEW, LIVE) if masked(text, [canary]) != in_text(text)]


def settled(secret: str) -> tuple[ModelEngine, Target]:
    node, wanted = engine(), target(secret)
    _, errors = node.carry_out(wanted)
    assert not errors
    return node, wanted


def test_a_first_plan_shows_none() -> None:
    found = plan(target(NEW), engine().observe())
    assert found.services[0].verdict == "create"
    assert canaries_in(said(found)) == []


def test_a_change_shows_that_it_is_one_and_neither_value() -> None:
    node, before = settled(OLD)
    found = plan(target(NEW), node.observe(), previous=before)
    assert canaries_in(said(found)) == []
    lines = "\n".join(found.lines())
    assert "environment.API_TOKEN: (hidden) -> (hidden)" in lines
    assert "environment.ECHO: (hidden) -> (hidden)" in lines
    url = "environment.DATABASE_URL: postgres://app:(hidden)@db/app"
    assert f"{url} -> postgres://app:(hidden)@db/app" in lines
    keys = {change.key.partition(".")[0] for change in found.services[0].changes}
    assert {"environment", "command", "entrypoint", "labels", "healthcheck", "logging"} <= keys


def test_what_leaves_the_file_is_not_shown_on_its_way_out() -> None:
    node, before = settled(OLD)
    after = Target("home", "n1", {"web": spec()})
    for previous in (before, None):
        found = plan(after, node.observe(), previous=previous)
        assert canaries_in(said(found)) == []
        assert "environment.API_TOKEN: removed (was (hidden))" in "\n".join(found.lines())


def test_drift_shows_none() -> None:
    """What somebody gave the container by hand is unknown to the file, and no less a secret."""
    node, wanted = settled(OLD)
    live = node.containers["web"]["Config"]
    live["Env"] = [line.replace(OLD, LIVE) for line in live["Env"]] + [f"X=redis://:{LIVE}@h"]
    live["Cmd"] = ["run", "--token", LIVE]
    live["Labels"] |= {"new.key": LIVE}
    found = plan(wanted, node.observe(), previous=wanted)
    assert canaries_in(said(found)) == []
    assert "environment.API_TOKEN: (hidden) -> (hidden) [drift]" in "\n".join(found.lines())


def test_the_label_of_a_container_holds_no_secret_variable() -> None:
    """A password in an address is one too; the rest stands where the engine shows it anyway."""
    environment = OPEN["environment"](NEW) | {"ECHO": "x"}
    wanted = Target(
        "home", "n1", {"web": spec(environment=environment)}, sensitive={"web": ("API_TOKEN",)}
    )
    assert NEW not in json.dumps(labels_for(wanted, "web"))


def test_masking_changes_nothing_of_what_is_done() -> None:
    """Two passwords are two targets, and what was applied is as it must be."""
    node, wanted = settled(OLD)
    again = plan(wanted, node.observe(), previous=wanted, refresh=False)
    assert again.empty, again.lines()
    assert target(OLD).revision != target(NEW).revision
    assert f"API_TOKEN={OLD}" in node.containers["web"]["Config"]["Env"]
    assert HIDDEN not in json.dumps(node.containers)


def test_a_container_of_an_earlier_otto_is_not_made_anew() -> None:
    """Its label has in clear what is a secret by today's rules, or a digest of what no longer is;
    and its image may be gone."""
    environment = {
        "SESSION_COOKIE": "c00kie-value",
        "URL": "redis://:pass-word@h",
        "A_PUBKEY": "ssh",
    }
    for earlier in ((), ("SESSION_COOKIE", "URL", "A_PUBKEY")):
        for image_is_there in (True, False):
            node = engine()
            before = Target(
                "home", "n1", {"web": spec(environment=environment)}, sensitive={"web": earlier}
            )
            node.carry_out(before)
            if not earlier:
                labels = node.containers["web"]["Config"]["Labels"]
                kept = json.loads(labels["io.otto.spec"])
                labels["io.otto.spec"] = json.dumps({**kept, "environment": environment})
            wanted = Target(
                "home", "n1", {"web": spec(environment=environment)},
                sensitive={"web": ("SESSION_COOKIE",)},
            )  # fmt: skip
            observed = node.observe()
            if not image_is_there:
                observed = type(observed)(**{**vars(observed), "images": {}})
            found = plan(wanted, observed, refresh=False)
            assert found.services[0].verdict == "up_to_date", found.lines()


# --- other places that say something -------------------------------------------------------------


@given(st.integers(0, 700))
def test_a_log_is_masked_before_it_is_cut(at: int) -> None:
    """Half a secret is none that is known: the cut leaves no piece of one."""
    secret = "abcdefghijklmnop"
    text = f"it ended ({'-' * at}{secret}{'-' * (700 - at)})"
    told = shortened(masked(text, [secret]))
    assert not any(secret[n : n + 3] in told for n in range(len(secret) - 2))
    assert told.startswith("it ended (")
    assert len(told) < 700


def test_errors_and_troubles_show_none() -> None:
    text = ADDRESS.format(NEW)
    error = OttoError(f"{text} does not answer", f"dial {text}", f"curl {text}")
    assert NEW not in str(error) + repr(error) + repr(error.args)
    trouble = Trouble(text, text, text)
    assert NEW not in repr(trouble) + json.dumps(trouble.to_json())
    assert NEW not in Change("command", text, f"--token {NEW}", "file").line()


@pytest.mark.parametrize(
    "service",
    [
        f'environment: {{API_TOKEN: ["{NEW}"]}}',
        f'environment: ["API TOKEN={NEW}"]',
        f'ports: ["redis://:{NEW}@h"]',
        f'restart: "postgres://u:{NEW}@h"',
        f'mem_limit: "--token {NEW}"',
        f'labels: {{api.key: ["{NEW}"]}}',
    ],
)
def test_a_wrong_value_is_quoted_without_its_secret(service: str) -> None:
    text = (
        "cluster: {name: home}\nnodes: [{id: n1, host: localhost}]\n"
        f"services: {{web: {{image: x, {service}}}}}\n"
    )
    with pytest.raises(ClusterFileError) as caught:
        load_text(text, "otto.yaml", environ={})
    assert NEW not in str(caught.value) + repr(caught.value.problems)


def test_variables_in_place_of_secrets_mean_the_same() -> None:
    """What is printed holds none; with its variables set it is the service that was."""
    raw = {
        name: {key: make(secret) for key, make in OPEN.items()}
        for name, secret in (("web", OLD), ("db", NEW))
    }
    variables = Variables()
    written = {
        name: variables.of_service(name, tree, lambda text: text.replace("$", "$$"))
        for name, tree in raw.items()
    }
    # What is no secret by its name or its writing is not known to be one.
    assert written["web"]["environment"].pop("ECHO") == raw["web"]["environment"].pop("ECHO") == OLD
    assert written["db"]["environment"].pop("ECHO") == raw["db"]["environment"].pop("ECHO") == NEW
    assert canaries_in(json.dumps(written)) == []
    assert set(variables.values.values()) == {OLD, NEW}
    document = {
        "cluster": {"name": "home"},
        "nodes": [{"id": "n1", "host": "localhost"}],
        "services": {name: {"image": "nginx:alpine", **tree} for name, tree in written.items()},
    }
    found = load_text(json.dumps(document), "otto.yaml", environ=dict(variables.values))
    assert {each.name: each.spec for each in found.services} == {
        name: spec(**tree) for name, tree in raw.items()
    }
