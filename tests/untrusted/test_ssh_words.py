# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that otto.yaml may write for a node becomes an option of ssh: asked of ssh itself."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils import cluster_tables, ssh_way
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Node
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otto_run import ssh

KNOWN = Path("/none/known_hosts")


def drawn(pattern: str) -> st.SearchStrategy[str]:
    text = st.characters(min_codepoint=33, max_codepoint=126)
    return st.from_regex(rf"\A(?:{pattern})\Z", alphabet=text).filter(lambda x: len(x) < 60)


def understood(words: list[str]) -> dict[str, str]:
    """What ssh makes of its arguments, without connecting; {} where it refuses them."""
    done = subprocess.run(
        ["ssh", "-F", "/dev/null", "-G", *words], capture_output=True, text=True, check=False
    )
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return {key: value for key, _, value in lines}


@settings(max_examples=15)
@given(user=drawn(cluster_tables._USER), host=drawn(cluster_tables._HOST))
@example(user="pi", host="fe80::1%eth0")
@example(user="me@corp", host="a")
@example(user="corp\\me$", host="a-b.c")
def test_user_and_host_are_what_is_reached(user: str, host: str) -> None:
    """Any that the patterns take: the same user and host, and no command on the way."""
    node = Node("a", host, user)
    found = understood([*ssh.options(node, KNOWN), ssh.destination(node)])
    if found:  # newer ones refuse odd names themselves
        assert found["user"] == user
        if not re.fullmatch("[0-9A-FXa-fx.:]+", host):  # ssh writes an address out: 0 is 0.0.0.0
            assert found["hostname"].lower() == host.lower()
        assert "proxycommand" not in found
        assert "proxyjump" not in found


@settings(max_examples=10)
@given(jump=drawn(cluster_tables._JUMP))
@example(jump="me@bastion:22,[fe80::1%eth0]:2222")
def test_a_jump_host_is_no_command(jump: str) -> None:
    """A stranger's goes through an ssh of Otto's own words; the words of the file stay single."""
    node = Node("a", "h", "pi", jump=jump, given_keys=True)
    (whole,) = ssh_way.resolved([node]).values()
    options = ssh.options(whole, KNOWN)
    (command,) = [word for word in options if word.startswith("ProxyCommand=")]
    words = shlex.split(command.removeprefix("ProxyCommand="))
    last = jump.split(",")[-1]
    user, _, host = last.rpartition("@")
    assert words[0] == "ssh"
    assert words[-3:-1] == ["-W", "[%h]:%p"]
    reached = words[-1].replace("%%", "%")
    assert reached.rpartition("@")[0] == user
    assert host.startswith((reached.rpartition("@")[2], "[" + reached.rpartition("@")[2]))
    found = understood([*options, ssh.destination(whole)])
    assert found["proxycommand"].count("ProxyCommand") == jump.count(",")
    assert (found["globalknownhostsfile"], found["updatehostkeys"]) == ("/dev/null", "false")
    assert found["userknownhostsfile"] == str(KNOWN)
    assert found["stricthostkeychecking"] in ("true", "yes")


def test_ones_own_jump_host_is_not_expanded() -> None:
    """A percent sign in ProxyJump is a token of ssh's, `%r` the user: it is doubled."""
    assert ssh_way.proxy(Node("a", "h", "u", jump="[fe80::1%eth0]"), "k") == [
        "-o",
        "ProxyJump=[fe80::1%%eth0]",
    ]
