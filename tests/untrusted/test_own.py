# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of one's own: it can do what docs/untrusted.md says on the control machine, no more."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.caller import (
    ALLOW_FILES_FROM,
    ONESELF,
    UNTRUSTED,
    Caller,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError, OttoError
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

from otto_run import runner
from otto_run.session import Session
from otto_run.vault import Vault
from tests.conftest import ROOT
from tests.untrusted.hostile import (
    CANARY,
    FILES,
    HEAD,
    PLANTED,
    VARIABLES,
    WEB,
    Hostile,
    write_outside,
)

BIN = Path(sys.executable).parent
VARIABLE = {"OTTO_TEST_CANARY": CANARY}


def loaded(case: Hostile, tmp_path: Path, caller: Caller) -> Cluster:
    write_outside(tmp_path / "out")
    file = case.write(tmp_path / "repo", tmp_path / "out")
    return load_file(str(file), environ=VARIABLE, caller=caller)


NO_CLUSTER_FILE = ("file-link", "secret-environ", "secret-home", "secret-shadow", "secret-pipe")
WITHIN = (
    "secret-git",
    "stack-of-the-neighbour",
    "stack-env-link-to-the-neighbour",
    "stack-env-link-to-the-file's",
    "stack-include-env-link",
)
"""Within otto.yaml's folder: allowed in a file of one's own."""
OUTSIDE = [case for case in FILES if case.name not in (*NO_CLUSTER_FILE, *WITHIN)]


@pytest.mark.parametrize("case", OUTSIDE, ids=lambda case: case.name)
def test_a_file_from_elsewhere_is_refused_with_what_to_type(case: Hostile, tmp_path: Path) -> None:
    """File, line, path, and the option with the folder; and the option does it."""
    out = tmp_path / "out"
    with pytest.raises(ClusterFileError) as caught:
        loaded(case, tmp_path, ONESELF)
    outside = [problem for problem in caught.value.problems if problem.outside]
    assert outside
    for problem in outside:
        assert f"--allow-files-from {out}" in problem.hint
        assert f"{ALLOW_FILES_FROM}={out}" in problem.hint
        assert problem.file
        assert problem.line or problem.file.endswith(".env")
    assert CANARY not in str(caught.value).replace(f"{CANARY}_KEY", "")


QUOTES_NOTHING = ("env-file-shadow", "include-shadow", "include-id_rsa", "include-kube.yaml")


@pytest.mark.parametrize("case", OUTSIDE, ids=lambda case: case.name)
def test_an_allowed_file_is_read_and_never_quoted(case: Hostile, tmp_path: Path) -> None:
    """With its folder allowed it is taken, or refused without a word of what stands in it."""
    caller = Caller(folders=(str(tmp_path / "out"),))
    if case.name not in QUOTES_NOTHING:
        targets(loaded(case, tmp_path, caller))
        return
    with pytest.raises(ClusterFileError) as caught:
        loaded(case, tmp_path, caller)
    said = str(caught.value)
    assert CANARY not in said
    assert not {"root:", "hash", "apiVersion", "token", "BEGIN"} & set(said.split())


@pytest.mark.parametrize("name", WITHIN)
def test_a_file_of_the_folder_is_ones_own(name: str, tmp_path: Path) -> None:
    case = next(case for case in FILES if case.name == name)
    assert loaded(case, tmp_path, ONESELF).services


@pytest.mark.parametrize("case", VARIABLES, ids=lambda case: case.name)
def test_the_environment_counts_as_in_compose(case: Hostile, tmp_path: Path) -> None:
    """The same files, with their variable."""
    assert loaded(case, tmp_path, ONESELF).services


@pytest.mark.parametrize("case", VARIABLES, ids=lambda case: case.name)
def test_a_variable_that_is_named_is_given(case: Hostile, tmp_path: Path) -> None:
    """--var NAME gives it to a stranger's file; what otto.yaml's own .env says is not a stack's."""
    caller = Caller(untrusted=True, known_hosts="/none", variables=tuple(VARIABLE))
    if case.name == "variable-of-the-file":
        with pytest.raises(ClusterFileError, match="is not given it"):
            loaded(case, tmp_path, caller)
    else:
        assert loaded(case, tmp_path, caller).services


LINES = (
    "root:$6$Kan4risalt$Kan4ri:1:2:3",
    "A=${Kan4ri",
    "A=${Kan4ri}",
    "A=${B:?Kan4ri is missing}",
    "Kan4ri with blanks",
    "Kan4ri=$",
    "A='Kan4ri",
    'Kan4ri="x" y',
)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("how", ["env_file", "label_file", ".env", "stack"])
def test_a_file_of_variables_is_never_quoted(line: str, how: str, tmp_path: Path) -> None:
    """Any file may be named as one: its line is told by number."""
    texts = {
        "env_file": "services: {web: {image: n, env_file: vars}}\n",
        "label_file": "services: {web: {image: n, label_file: vars}}\n",
        ".env": WEB,
        "stack": "stacks: [{compose: c.yaml, env_file: vars}]\n",
    }
    (tmp_path / "c.yaml").write_text("services: {x: {image: n}}\n")
    (tmp_path / (".env" if how == ".env" else "vars")).write_text(f"OK=1\n{line}\n")
    (tmp_path / "otto.yaml").write_text(HEAD + texts[how])
    with pytest.raises(ClusterFileError) as caught:
        load_file(str(tmp_path / "otto.yaml"), environ={})
    assert CANARY not in str(caught.value)
    assert {problem.line for problem in caught.value.problems} == {2}


YAMLS = (
    "Kan4ri",
    "- Kan4ri",
    "Kan4ri: x",
    "a: *Kan4ri",
    "a: !Kan4ri!b c",
    "%Kan4ri\n---\na: b",
    "a: 'Kan4ri",
    "Kan4ri: [",
    "&Kan4ri &Kan4ri a: b",
    "a: b: Kan4ri",
    "secrets: {Kan4ri: x}",
    '"\\UFFFFFFFF": Kan4ri',
    "a: {<<: Kan4ri}",
    "? [Kan4ri]\n: x",
    "a: ${Kan4ri}",
    "a: $Kan4ri",
    "a: 1\nKan4ri: 1\nKan4ri: 2",
)


@pytest.mark.parametrize("text", YAMLS)
@pytest.mark.parametrize("how", ["include", "extends", "stack"])
def test_a_file_that_is_no_compose_file_is_never_quoted(
    text: str, how: str, tmp_path: Path
) -> None:
    """Neither its words nor its keys, whatever is wrong with it."""
    texts = {
        "include": "include: [f]\n",
        "extends": "services: {web: {extends: {file: f, service: web}}}\n",
        "stack": "stacks: [{compose: f, name: s}]\n",
    }
    (tmp_path / "f").write_text(text + "\n")
    (tmp_path / "otto.yaml").write_text(HEAD + texts[how])
    with pytest.raises(ClusterFileError) as caught:
        load_file(str(tmp_path / "otto.yaml"), environ={})
    assert CANARY not in str(caught.value)


# ---- what is typed


def typed(tmp_path: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "otto-run", *words],
        cwd=tmp_path,
        env={**os.environ, "OTTO_STATE": str(tmp_path / "state"), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "environ", "says"),
    [
        (["plan", "--untrusted"], {}, "--known-hosts FILE"),
        (["plan", "--untrusted", "--known-hosts", "../k", "--allow-files-from", "/"], {},
         "does not go with --untrusted"),
        (["plan", "--var", "A"], {}, "this goes with --untrusted"),
        (["plan", "--untrusted", "--known-hosts", "../k", "--var", "A=b"], {}, "by its name"),
        (["plan"], {UNTRUSTED: "maybe"}, "neither yes nor no"),
        (["plan"], {UNTRUSTED: "1"}, "--known-hosts FILE"),
        (["status"], {UNTRUSTED: "1"}, "takes no untrusted file"),
        (["up"], {UNTRUSTED: "1"}, "takes no untrusted file"),
        (["doctor", "--untrusted", "--known-hosts", "../k", "--accept-new-host-keys"], {},
         "--accept-new-host-keys does not go with --untrusted"),
        (["plan", "--untrusted", "--known-hosts", "../k"], {},
         "k has no host key of a (127.0.0.2)"),
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_is_refused(
    tmp_path: Path, words: list[str], environ: dict[str, str], says: str
) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "otto.yaml").write_text(HEAD.replace("127.0.0.2, port: 9", "127.0.0.2") + WEB)
    (tmp_path / "k").write_text("")
    done = typed(folder, *words, **environ)
    assert done.returncode in (1, 2)
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "k").read_text() == ""


def test_at_a_terminal_one_question_is_asked(tmp_path: Path) -> None:
    """It names the files; yes reads them, this once, and no reads none."""
    write_outside(tmp_path / "out")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "otto.yaml").write_text(
        HEAD + WEB + f"secrets: {{s: {{file: '{tmp_path}/out/secret.txt'}}}}\n"
    )
    for answer, code in ((b"n\n", 2), (b"y\n", 0)):
        primary, secondary = pty.openpty()
        process = subprocess.Popen(
            [BIN / "otto-run", "history"],
            cwd=tmp_path / "repo",
            env={**os.environ, "OTTO_STATE": str(tmp_path / "state")},
            stdin=secondary, stdout=secondary, stderr=secondary,
        )  # fmt: skip
        os.close(secondary)
        os.write(primary, answer)
        said = b""
        try:
            while piece := os.read(primary, 4096):
                said += piece
        except OSError:
            pass  # the other end is closed
        os.close(primary)
        assert process.wait(30) == code
        assert said.count(b"Read them?") == 1
        assert f"{tmp_path}/out/secret.txt".encode() in said


@pytest.mark.parametrize("command", ["doctor", "plan", "ansible-inventory"])
def test_a_known_hosts_that_is_none_is_refused(tmp_path: Path, command: str) -> None:
    """By each door, before SSH is given the file: told to accept keys it would write to it."""
    (tmp_path / ".bashrc").write_text("true\n")
    text = HEAD.replace("name: home", "name: home, known_hosts: .bashrc") + WEB
    (tmp_path / "otto.yaml").write_text(text)
    if command == "ansible-inventory":
        done = subprocess.run(
            [BIN / command, "-i", "otto.yaml", "--list"],
            cwd=tmp_path,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
                "OTTO_STATE": str(tmp_path / "state"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    else:
        done = typed(tmp_path, command, "--accept-new-host-keys")
    assert done.returncode != 0
    assert "Otto keeps no host keys in" in done.stdout + done.stderr
    assert (tmp_path / ".bashrc").read_text() == "true\n"


def test_what_lies_beside_the_file_is_not_imported(tmp_path: Path) -> None:
    """`doctor` of a local node runs Python, which would look for modules where it is typed."""
    (tmp_path / "out").mkdir()
    text = "cluster: {name: home}\nnodes: [{id: a, host: localhost}]\n" + WEB
    case = Hostile("planted", {"otto.yaml": text, **PLANTED}, "")
    case.write(tmp_path / "repo", tmp_path / "out")
    done = typed(tmp_path / "repo", "doctor")
    assert "python" in done.stdout
    assert not (tmp_path / "out" / "ran").exists()


def test_no_python_is_started_with_the_folder_in_its_path() -> None:
    """-I or -P wherever otto-run starts its own Python; else the folder's modules come first."""
    starts = [
        found
        for file in (ROOT / "otto_run").glob("*.py")
        for found in re.findall(r'sys\.executable, "(-\w*)"', file.read_text())
    ]
    assert len(starts) >= 2
    assert set(starts) <= {"-I", "-P"}


def test_the_flag_means_one_thing() -> None:
    """What is neither yes nor no is an error, and every value goes to Ansible and comes back."""
    for text in ("1", "yes", "True"):
        assert Caller.of({UNTRUSTED: text}).untrusted
    for text in ("", "0", "no"):
        assert not Caller.of({UNTRUSTED: text}).untrusted
    with pytest.raises(OttoError):
        Caller.of({UNTRUSTED: "2"})
    whole = Caller(True, ("A", "B"), "/k", ("/i", "/j"), ("a@b:22", "c,d"), ("/x",))
    assert Caller.of(whole.environment()) == whole
    assert set(Caller().environment()) == set(whole.environment())


def test_what_was_typed_goes_to_the_ansible_that_otto_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its variables is set, so that nothing of the shell's own stands in its place."""
    (tmp_path / "otto.yaml").write_text(HEAD + WEB)
    monkeypatch.setenv("OTTO_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    asked: list[runner.Request] = []
    monkeypatch.setattr(runner, "run", lambda request, *_, **__: asked.append(request))
    whole = Caller(True, ("A",), "/k", ("/i",), ("c@d",))
    here = Session.open(tmp_path / "otto.yaml", Vault(), 0, whole)
    here.play("otto.cluster.plan", check=True)
    set_there = runner.environment(asked[0], tmp_path)
    assert Caller.of(set_there) == whole
