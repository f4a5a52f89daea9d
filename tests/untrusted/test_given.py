# SPDX-License-Identifier: GPL-3.0-or-later
"""What a caller gives a stranger's file, what it then has; `import` of one; and the races."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import folders, ssh_way
from ansible_collections.otto.cluster.plugins.module_utils.caller import ONESELF, Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Node
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError
from hypothesis import given
from hypothesis import strategies as st

from otto_run import hostkeys, importer, ssh
from otto_run.exits import Stop
from otto_run.session import Session
from otto_run.vault import Vault
from tests.untrusted.hostile import CANARY, write_outside

KNOWN = Path("/none/known_hosts")


def nodes(folder: Path, text: str, **gives: tuple[str, ...]) -> dict[str, Node]:
    (folder / "otto.yaml").write_text(f"cluster: {{name: h}}\nnodes: {text}\nservices: []\n")
    caller = Caller(untrusted=True, known_hosts=str(KNOWN), **gives)  # type: ignore[arg-type]
    return ssh_way.resolved(load_file(str(folder / "otto.yaml"), environ={}, caller=caller).nodes)


def test_a_key_that_the_caller_gave_is_used(tmp_path: Path) -> None:
    """Named in the file, or left out where the caller gave one alone; with two, none is guessed."""
    plain, named = (
        "[{id: a, host: h, user: u}]",
        "[{id: a, host: h, user: u, identity_file: /k/id}]",
    )
    key, other = "/k/id", "/k/other"
    assert nodes(tmp_path, named, identity_files=(other, key))["a"].identity_file == key
    assert nodes(tmp_path, plain, identity_files=(key,))["a"].identity_file == key
    assert nodes(tmp_path, plain, identity_files=(key, other))["a"].identity_file is None
    with pytest.raises(ClusterFileError, match="the caller did not give"):
        nodes(tmp_path, named, identity_files=(other,))


@pytest.mark.parametrize("jump", ["gate", "me@10.0.0.9:2222", "a@b,c@d"])
def test_every_host_on_the_way_is_known_by_the_callers_file(jump: str, tmp_path: Path) -> None:
    """Jump hosts too: no ssh on the way looks into files of its own, or writes to any."""
    text = f"[{{id: a, host: h, user: u, jump: '{jump}'}}, {{id: gate, host: g, user: u}}]"
    node = nodes(tmp_path, text, jumps=(jump,))["a"]
    words = " ".join(ssh.options(node, KNOWN))
    hops = 1 + len(jump.split(","))
    assert len(re.findall("UserKnownHostsFile=/none/known_hosts", words)) == hops
    assert len(re.findall("GlobalKnownHostsFile=/dev/null", words)) == hops
    assert len(re.findall("StrictHostKeyChecking=yes", words)) >= hops
    assert "ProxyJump" not in words


def test_a_host_that_is_not_in_the_callers_file_is_not_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of it, nothing asked of the person, nothing written."""
    monkeypatch.setattr(hostkeys, "scan", lambda *_: pytest.fail("it was asked for its key"))
    node = Node("a", "127.0.0.2", "u", 9, given_keys=True)
    with pytest.raises(Stop, match="has no host key of a"):
        hostkeys.first_contact(
            [node], tmp_path / "known_hosts", accept=True, ask=pytest.fail, say=pytest.fail
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["repo/ci/known_hosts", "repo/a/known_hosts", "link/known_hosts"])
@pytest.mark.parametrize("option", ["known_hosts", "identity_files"])
def test_what_a_stranger_may_change_is_not_given(where: str, option: str, tmp_path: Path) -> None:
    """Host keys and keys in the checkout are the stranger's, whatever way is typed to them."""
    folder = tmp_path / "repo/a"
    for each in (folder, tmp_path / "repo/.git", tmp_path / "repo/ci"):
        each.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "repo/ci/known_hosts").symlink_to("/etc/hosts")
    (folder / "otto.yaml").write_text("cluster: {name: h}\nnodes: []\n")
    path = str(tmp_path / where)
    gives = {"known_hosts": str(KNOWN), option: path if option == "known_hosts" else (path,)}
    with pytest.raises(ClusterFileError, match="whose author may change it"):
        load_file(str(folder / "otto.yaml"), environ={}, caller=Caller(untrusted=True, **gives))  # type: ignore[arg-type]


def test_a_vault_password_in_the_checkout_is_not_given(tmp_path: Path) -> None:
    """Nor is the password of its `!vault` values."""
    with pytest.raises(Stop, match="lies in the checkout"):
        Session.open(
            tmp_path / "otto.yaml", Vault(tmp_path / "p"), 0, Caller(True, known_hosts=str(KNOWN))
        )


def test_an_error_proposes_no_name_that_is_withheld(tmp_path: Path) -> None:
    """The names of the environment are not the stranger's either."""
    (tmp_path / "otto.yaml").write_text(
        "cluster: {name: h}\nnodes: [{id: a, host: h, user: u}]\n"
        "services: {web: {image: 'n:${SECRE}'}}\nsecrets: {s: {environment: SECRE}}\n"
    )
    with pytest.raises(ClusterFileError) as caught:
        load_file(
            str(tmp_path / "otto.yaml"),
            environ={"SECRET": "x"},
            caller=Caller(untrusted=True, known_hosts=str(KNOWN)),
        )
    assert "SECRE" in str(caught.value)
    assert "SECRET" not in str(caught.value)


# ---- import


@pytest.mark.parametrize(
    "text",
    [
        "services: {xx: {extends: {file: ../out/compose.yaml, service: xx}}}\n",
        "include: [../out/compose.yaml]\n",
        "services: {xx: {image: n, volumes: ['../out/secret.txt:/s']}}\n",
        "services: {xx: {image: n, volumes: ['../out/folder:/s:ro']}}\n",
        "services: {xx: {image: n, volumes: ['${OTTO_TEST_OUT}/folder:/s:ro']}}\n",
    ],
)
@pytest.mark.parametrize("untrusted", [True, False])
def test_import_stays_beneath_the_files_folder(
    text: str, untrusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the file that is typed, wherever it is typed from."""
    write_outside(tmp_path / "out")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "compose.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTTO_TEST_OUT", "../out")
    caller = Caller(untrusted=True, variables=("OTTO_TEST_OUT",)) if untrusted else ONESELF
    with pytest.raises(ClusterFileError, match="lies outside") as caught:
        importer.imported(Path("repo/compose.yaml"), node="a", name="p", caller=caller)
    assert CANARY not in str(caught.value)


def test_import_does_not_use_a_variable_that_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compose.yaml").write_text("services: {xx: {image: n}}\n")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", CANARY.lower())
    with pytest.raises(ClusterFileError, match="COMPOSE_PROJECT_NAME is set"):
        importer.imported(
            tmp_path / "compose.yaml", node="a", name=None, caller=Caller(untrusted=True)
        )


# ---- where files lie


def test_a_link_that_comes_in_between_is_not_followed(tmp_path: Path) -> None:
    """The place that was compared is the one that is opened: a file, and a folder on its way."""
    write_outside(tmp_path / "out")
    (tmp_path / "repo" / "d").mkdir(parents=True)
    file = tmp_path / "repo" / "d" / "inner.txt"
    file.write_text("mine\n")
    root = str(tmp_path / "repo")
    file.unlink()
    file.symlink_to(tmp_path / "out" / "secret.txt")
    with pytest.raises(OSError, match="symbolic links"):
        folders._opened(str(file), root)
    file.unlink()
    (tmp_path / "repo" / "d").rmdir()
    (tmp_path / "repo" / "d").symlink_to(tmp_path / "out" / "folder")
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        folders._opened(str(file), root)


@given(parts=st.lists(st.sampled_from(["..", ".", "d", "up", "out", "f", ""]), max_size=8))
def test_what_is_read_lies_beneath(
    parts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any way through folders and links: what is read is a file of the folder, or nothing."""
    base = tmp_path_factory.mktemp("ways", numbered=True)
    (base / "repo" / "d").mkdir(parents=True)
    (base / "repo" / "d" / "f").write_text("mine")
    (base / "f").write_text("theirs")
    (base / "repo" / "up").symlink_to("..")
    (base / "repo" / "d" / "out").symlink_to(base)
    repo = str(base / "repo")
    for strict in (True, False):
        try:
            found = folders.Folders(repo, strict=strict).read("/".join([repo, *parts]), repo, 99)
        except (folders.Outside, OSError):
            continue
        assert found == b"mine"


@pytest.mark.parametrize(
    ("folder", "path", "inside"),
    [
        ("/a/b", "/a/b/c", True),
        ("/a/b", "/a/bc", False),
        ("/", "/etc/x", True),
        ("/a/b", "/a/b", True),
    ],
)
def test_beneath_is_by_whole_names(folder: str, path: str, inside: bool) -> None:
    assert folders._beneath(path, folder) == inside
