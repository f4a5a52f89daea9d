# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as typed text, its bounds, and variables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils import interpolate, source
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError, OttoError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

ENVIRON = {"SET": "value", "EMPTY": "", "OTHER": "$SET", "_a1": "x"}


def load(text: str | bytes, **environ: str) -> source.Source:
    return source.load(text, "f.yaml", environ=environ)


def tree(text: str, **environ: str) -> Any:
    found = load(text, **environ)
    assert not found.problems
    return found.tree


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 22:22", {"a": "22:22"}),
        ("a: no", {"a": "no"}),
        ("on: yes", {"on": "yes"}),
        ("a: 1.10", {"a": "1.10"}),
        ("a: 0644", {"a": "0644"}),
        ("a: 2026-11-23", {"a": "2026-11-23"}),
        ("a: 0x1F", {"a": "0x1F"}),
        ("a: 1_000", {"a": "1_000"}),
        ("1: 2", {"1": "2"}),
        ("a:", {"a": None}),
        ("a: ~", {"a": None}),
        ("a: NULL", {"a": None}),
        ("a: 'null'", {"a": "null"}),
        ('a: ""', {"a": ""}),
        ("a: !!str", {"a": ""}),
        ("a: !!str null", {"a": "null"}),
        ("a: !!int 7", {"a": "7"}),
        ("a: !unsafe '{{ x }}'", {"a": "{{ x }}"}),
        ("a: '{{ x }} {% y %}'", {"a": "{{ x }} {% y %}"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: >\n  x\n  y\n", {"a": "x y\n"}),
        ("a: [b, {c: d}, []]", {"a": ["b", {"c": "d"}, []]}),
        ("a: &x {b: c}\nd: *x", {"a": {"b": "c"}, "d": {"b": "c"}}),
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", {"x": {"a": "1", "b": "2"},
                                                    "y": {"a": "1", "b": "3"}}),
        ("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}",
         {"x": {"a": "1"}, "y": {"a": "2", "b": "2"}, "z": {"a": "1", "b": "2"}}),
        ("y: {'<<': 1}", {"y": {"<<": "1"}}),
        ("%YAML 1.2\n---\na: b\n...\n", {"a": "b"}),
        ("\ufeffa: b", {"a": "b"}),
    ],
)  # fmt: skip
def test_values(text: str, expected: Any) -> None:
    """A scalar keeps its text; only a plain null is None."""
    assert tree(text) == expected


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
trees = st.recursive(
    st.none() | texts,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(texts.filter(bool), below, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(texts.filter(bool), trees, min_size=1, max_size=4))
def test_reads_what_a_dumper_writes(value: Any) -> None:
    """Any tree of text comes back, whatever the dumper quotes, folds or aliases."""
    text = yaml.safe_dump(value, allow_unicode=True)
    assume(not text.startswith("$ANSIBLE_VAULT"))  # that is a vaulted file, whatever follows
    assert source.load(text, "f", environ={}, literal=value).tree == value


tokens = st.sampled_from(
    ["a", "b: ", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", ": ", "&x ", "*x", "!vault ", "!<x>",
     "!!str ", "|\n", "'", '"', "\\U", "ffffffff", "\\0", "---\n", "...", "? ", "<<: ", "${", "$A",
     ":-", "$$", "#", "\t", "~", "null", "é", "\u2028", "%TAG ! tag:x\n", "@", ">", "!%ff ", "\0"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(tokens, max_size=25).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in the file, the answer is a tree of plain values or a page of problems."""
    try:
        found = source.load(text, "f", environ={"A": "x"}, vault=lambda _: "plain")
    except ClusterFileError as error:
        assert error.problems
        return
    left = [found.tree]
    while left:
        value = left.pop()
        assert value is None or type(value) in (dict, list, str)
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def test_lines() -> None:
    """Every path has the line of its key, or of its item."""
    found = load("# comment\na:\n  - x\n  - y: z\nb: &b\n  c: d\ne: *b\nf: {<<: *b}\n")
    assert found.lines == {
        (): 2,
        ("a",): 2,
        ("a", 0): 3,
        ("a", 1): 4,
        ("a", 1, "y"): 4,
        ("b",): 5,
        ("b", "c"): 6,
        ("e",): 7,
        ("e", "c"): 6,
        ("f",): 8,
        ("f", "c"): 6,
    }


def quickly_refused(text: str | bytes, words: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ClusterFileError, match=words):
        load(text)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("bracket", ["[", "{", "- ", "? ", "[[{"])
def test_depth_is_bounded(bracket: str) -> None:
    quickly_refused(bracket * 100_000, "nesting deeper than 64")


def test_depth_through_aliases_is_bounded() -> None:
    """Aliases cannot pile up what the brackets may not."""
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100)]
    quickly_refused("\n".join(lines), "nesting deeper than 64")


def test_bytes_are_bounded() -> None:
    quickly_refused("a: " + "x" * source.MAX_BYTES, "at most 1048576 bytes")


def test_merges_count_as_aliases() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: v" for i in range(500)) + "}"]
    lines += [f"a{i}: {{<<: [*a0, *a0]}}" for i in range(1, 200)]
    quickly_refused("\n".join(lines), "values with all aliases expanded")


def test_expansion_is_bounded() -> None:
    """A variable cannot blow a small file up."""
    found = load("a: '" + "$A" * 100_000 + "'", A="x" * 1000)
    assert [problem.path for problem in found.problems] == [("a",)]


def test_file_of_the_size_of_a_fleet_is_quick() -> None:
    """A hundred nodes and three hundred services are read while one waits."""
    lines = [f"  - {{id: n{i}, host: 10.0.0.{i}, user: pi}}" for i in range(100)]
    lines += [f"  - name: s{i}\n    image: nginx\n    node: [n1]" for i in range(300)]
    begin = time.monotonic()
    load("nodes:\n" + "\n".join(lines))
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$SET", "value"),
        ("a${SET}b", "avalueb"),
        ("$SET-x", "value-x"),
        ("$_a1.", "x."),
        ("$$SET $$", "$SET $"),
        ("$${SET}", "${SET}"),
        ("${EMPTY}", ""),
        ("${OTHER}", "$SET"),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-d}", "d"),
        ("${SET:-d}", "value"),
        ("${UNSET:-}", ""),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-a${UNSET:-b${SET}c}d}e", "abvaluecde"),
        ("${SET:-${UNSET}}", "value"),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${UNSET:-$$x}", "$x"),
        ("${SET:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${UNSET+alt}", ""),
        ("${SET:?no}", "value"),
        ("${EMPTY?no}", ""),
    ],
)
def test_variables(text: str, expected: str) -> None:
    assert interpolate.expand(text, ENVIRON) == expected


@pytest.mark.parametrize(
    "text",
    ["$", "$1", "a $ b", "$(pwd)", "${", "${}", "${1}", "${SET", "${SET:-a", "${SET!}", "${SET:x}",
     "${UNSET}", "$UNSET", "${UNSET:?}", "${EMPTY:?why}", "${UNSET?why}", "${UNSET:-$NOR_THIS}",
     "${A:-" * 1000 + "}" * 1000],
)  # fmt: skip
def test_variables_that_cannot_be(text: str) -> None:
    """Each is one problem, and its text stays as it is."""
    found = source.load("a: '" + text + "'", "f", environ=ENVIRON)
    assert found.tree == {"a": text}
    assert [(p.path, p.line) for p in found.problems] == [(("a",), 1)]
    assert found.broken == {("a",)}


def test_message_of_a_required_variable() -> None:
    found = load("a: ${DB:?the database needs $WHAT}", WHAT="one")
    assert found.problems[0].message == "the database needs one"


def test_nearest_variable() -> None:
    assert load("a: ${DB_PASWORD}", DB_PASSWORD="x").problems[0].nearest == "DB_PASSWORD"


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_doubled_dollars_are_themselves(text: str) -> None:
    """Any text can be written down so that nothing in it is a variable."""
    assert interpolate.expand(text.replace("$", "$$"), {}) == text


def test_keys_hold_no_variables() -> None:
    assert tree("$A: b", A="x") == {"$A": "b"}


def test_problem_of_an_alias_is_told_once() -> None:
    """Ten places that share a wrong value are one problem, and all of them are known as broken."""
    found = load("a: &a {b: $UNSET}\nc: *a\nd: {<<: *a}\n")
    assert len(found.problems) == 1
    assert found.broken == {("a", "b"), ("c", "b"), ("d", "b")}


VALUE = "!vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    6162\n"


def test_vault() -> None:
    """A decrypted value is a secret, and nothing in it is a variable."""
    seen = []

    def vault(ciphertext: str) -> str:
        seen.append(ciphertext)
        return "$SET ${"

    found = source.load(f"a: &a {VALUE}b: *a\nc: plain\n", "f", environ=ENVIRON, vault=vault)
    assert found.tree == {"a": "$SET ${", "b": "$SET ${", "c": "plain"}
    assert found.secrets == {("a",), ("b",)}
    assert seen == ["$ANSIBLE_VAULT;1.1;AES256\n6162\n"]


def test_missing_password_is_one_problem() -> None:
    """Twenty encrypted values lack the same password."""
    found = load("".join(f"k{i}: {VALUE}" for i in range(20)))
    assert [problem.path for problem in found.problems] == [("k0",)]
    assert len(found.broken) == 20
    assert "--ask-vault-pass" in found.problems[0].hint


def test_vaulted_file() -> None:
    found = source.load(
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "f", environ=ENVIRON, vault=lambda _: "a: $SET\n"
    )
    assert found.tree == {"a": "value"}
    assert found.encrypted


def test_vaulted_file_with_the_wrong_password() -> None:
    def vault(_: str) -> str:
        raise OttoError("no vault password fits")

    with pytest.raises(ClusterFileError, match="no vault password fits"):
        source.load("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "f", environ={}, vault=vault)


def test_env_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(
        b"# comment\n\nA=1\r\nexport B = two words # comment\nC='$A #'\nD=\"x\\n$A ${OUT}\"\n"
        b'E=\nF=a#b\nG="two\nlines" # comment\nH=${A}${NONE:-n}\nI=\'it"s\'\nJ="\\$A"\nA=2\n'
    )
    assert source.env_file(path.read_bytes(), ".env", {"OUT": "o"}) == {
        "A": "2",
        "B": "two words",
        "C": "$A #",
        "D": "x\n1 o",
        "E": "",
        "F": "a#b",
        "G": "two\nlines",
        "H": "1n",
        "I": 'it"s',
        "J": "$A",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=#fff", "#fff"),
        ("A= #fff", "#fff"),
        ("A=x #fff", "x"),
        ("A=x#y", "x#y"),
        (r"A='Let\'s go!'", "Let's go!"),
        ("A: value", "value"),
        ("export A=1", "1"),
    ],
)
def test_env_lines_mean_what_compose_makes_of_them(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / ".env").write_text(text + "\n2FA=x\n")
    found = source.env_file((tmp_path / ".env").read_bytes(), ".env")
    assert found == {"A": value, "2FA": "x"}


def test_braces_of_a_default_belong_to_it() -> None:
    text = '${CFG:-{"a":{"b":1}}}!'
    assert interpolate.expand(text, {}) == '{"a":{"b":1}}!'
    assert interpolate.expand(text, {"CFG": "x"}) == "x!"


@pytest.mark.parametrize(
    "text",
    [
        "services: {web: {image: n, environment: {DB_PASSWORD: 'pa$5w0rd'}}}",
        "services: {web: {image: n, environment: [DB_PASSWORD=5w0rd, DB_PASSWORD=5w0rd]}}",
        'services: {web: {image: n, command: "run \'${DB_PASSWORD}"}}',
    ],
)
def test_no_error_quotes_a_secret(text: str) -> None:
    head = "cluster: {name: c}\nnodes: [{id: a, host: 10.0.0.1, user: pi}]\n"
    with pytest.raises(ClusterFileError) as caught:
        text = head + text.replace("image: n", "image: n, node: a")
        load_text(text, "otto.yaml", environ={"DB_PASSWORD": "5w0rd"})
    assert "5w0rd" not in str(caught.value)


def test_broken_env_file_tells_all_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\ns3cret\nB=$NONE\nC='open s3cret\n")
    with pytest.raises(ClusterFileError) as caught:
        source.env_file(path.read_bytes(), ".env")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]
    assert "s3cret" not in str(caught.value)
