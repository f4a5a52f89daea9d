#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: agent
short_description: Install or remove the agent of Otto on a node
version_added: 0.1.0
description:
  - Installs the agent in one call; it unpacks the bundle, writes configuration and unit, switches
    the link C(/opt/otto/current) and restarts the service.
  - The new agent has to look at Docker and at its target once, and then to stay up for some
    seconds. When it does not, the former version, configuration and unit are put back, the former
    agent is started again, and the module fails with the last lines of the journal. No container is
    touched. A switch that was cut off in between leads back to the former agent too, when the next
    one does not come up either.
  - Used in a playbook it is an action that builds the bundle and both files on the control machine
    from the variables of the host, and sends the bundle only where it is needed.
  - A host has one agent and belongs to one cluster. Where it belongs to another one, nothing is
    touched and the module fails with what to do.
  - Needs Python 3.9 and systemd on the node; no pip and no network.
author:
  - The Otto authors (@otto-cluster)
options:
  state:
    description:
      - With V(present) the agent is installed and runs.
      - With V(unpacked) only its bundle is there, for the modules that need the Docker SDK.
      - With V(stopped) the service is stopped, if there is one.
      - With V(absent) service, unit, bundles, configuration, state directory and user are removed.
    type: str
    choices: [present, unpacked, stopped, absent]
    default: present
  installed:
    description:
      - What M(otto.cluster.node_info) returned for the node.
      - Where it shows that all is as it has to be, the action is done without a call to the node.
    type: dict
  timeout:
    description: Seconds that the agent has to report that it has looked at the node.
    type: int
    default: 60
  cluster:
    description: Name of the cluster that the node is to belong to. Set by the action.
    type: str
  version:
    description: Version of the bundle. Set by the action.
    type: str
  sha256:
    description: SHA-256 of the manifest of the bundle, which names it. Set by the action.
    type: str
  bundle:
    description: The bundle, a gzip-compressed tar archive in Base64. Set by the action.
    type: str
  packed_sha256:
    description: SHA-256 of that archive, compared before it is unpacked. Set by the action.
    type: str
  config:
    description: Content of C(/etc/otto/agent.json). Set by the action.
    type: str
  unit:
    description: Content of the systemd unit. Set by the action.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and return what would change without changing it.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check mode.
    support: full
seealso:
  - module: otto.cluster.node_info
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: Install the agent
  otto.cluster.agent:

- name: Remove the agent with all that it keeps
  otto.cluster.agent:
    state: absent
"""

RETURN = r"""
version:
  description: Version of the bundle that is in use now, empty where there is none.
  type: str
  returned: success
  sample: 0.1.0-3fa2c1d4
former:
  description: Version that was in use before.
  type: str
  returned: success
changes:
  description: What was done, or would be done in check mode, one line each.
  type: list
  elements: str
  returned: success
needs_bundle:
  description: Nothing was done, because the bundle was not sent along and is not on the node.
  type: bool
  returned: when it is so
"""

import base64
import errno
import grp
import hashlib
import io
import json
import os
import pwd
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils import beneath, trusted

SERVICE = "otto-agent.service"
USER = "otto"
OPT = Path("/opt/otto")
CURRENT = OPT / "current"
ETC = Path("/etc/otto")
CONFIG = ETC / "agent.json"
POLICY = ETC / "policy.yaml"
PATHS = ETC / "policy.paths.json"
STATE = Path("/var/lib/otto")
FORMER = ETC / "former.json"
UNIT = Path("/etc/systemd/system") / SERVICE
STEADY = 3.0  # seconds that an agent which is ready has to stay up
JOURNAL_LINES = 15
LARGEST = 1024 * 1024
CORE = "ansible_collections.otto.cluster.plugins.module_utils"
LOADED = f"otto_agent.__main__, docker, paho.mqtt.client, yaml, {CORE}.target_main"
"""some of it only loads when needed"""


class Failed(Exception):
    """Message for a person; what to do next stands in it."""


def run(*command, timeout=60, check=True, env=None):
    """Output of a command. Raises Failed with its error output."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=env,
        )
    except FileNotFoundError as error:
        raise Failed(f"{command[0]} is missing on this node") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"`{' '.join(command)}` did not end within {timeout} seconds") from error
    if check and done.returncode:
        text = (done.stderr or done.stdout).strip()
        raise Failed(f"`{' '.join(command)}` failed ({done.returncode}): {text}")
    return done.stdout


def systemctl(*arguments, timeout=60, check=True):
    return run("systemctl", *arguments, timeout=timeout, check=check)


def service():
    """{"ActiveState", "UnitFileState", "LoadState", "MainPID"} as systemd shows them."""
    if not Path("/run/systemd/system").is_dir():
        raise Failed("This node does not run systemd, which the agent is started by")
    fields = ("ActiveState", "UnitFileState", "LoadState", "MainPID")
    text = systemctl("show", SERVICE, "--property=" + ",".join(fields))
    return dict(line.partition("=")[::2] for line in text.splitlines())


def read(path):
    """Text of a file, None where there is none. The agent may write its own configuration, so what
    stands there may be anything: it is compared with what ought to stand there."""
    try:
        with beneath.opened(path.parent) as folder:
            return folder.read(path.name, LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(error, beneath.Foreign) or error.errno == errno.EFBIG:
            return ""
        raise


def write(path, text, mode, owner=0, group=0):
    """Puts a whole file in place at once, or leaves the old one."""
    descriptor, unfinished = tempfile.mkstemp(dir=str(path.parent), prefix="." + path.name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink()
        raise


def erase(path):
    """Removes a directory with all that is in it, also where root has laid it on another disk."""
    with beneath.opened(path) as folder:
        for name in folder.names():
            folder.remove_tree(name)
    with beneath.opened(path.parent) as above:
        above.remove_tree(path.name)


def link(version):
    """Switches `current` at once; there is no moment without it."""
    unfinished = OPT / ".current.new"
    if unfinished.is_symlink():
        unfinished.unlink()
    unfinished.symlink_to(version)
    unfinished.replace(CURRENT)


def current_version():
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def has_user():
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def owns(path, mode):
    """Whether a path belongs to the agent's user and has this mode."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return (
        has_user()
        and status.st_uid == pwd.getpwnam(USER).pw_uid
        and status.st_mode & 0o7777 == mode
    )


def python_of(unit):
    return re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE).group(1)


def altered(version, sha256):
    """Why /opt/otto/<version> is not the bundle of that name; "" where it is."""
    folder = OPT / version
    return trusted.altered(str(folder), sha256) if folder.is_dir() else f"{folder} is missing"


def unpack(params, python):
    """Makes /opt/otto/<version>, whole or not at all; its modules are compiled and have loaded."""
    version = params["version"]
    packed = base64.b64decode(params["bundle"])
    if hashlib.sha256(packed).hexdigest() != params["packed_sha256"]:
        raise Failed("The bundle did not arrive as it was sent: otto-run apply   (sends it again)")
    OPT.mkdir(mode=0o755, exist_ok=True)
    why = trusted.distrusted(str(OPT))
    if why:
        raise Failed(
            f"What root runs cannot lie in {OPT}: {why}\n"
            f"    next      on the node: sudo chown root:root {OPT}; sudo chmod go-w {OPT}"
        )
    folder = Path(tempfile.mkdtemp(dir=str(OPT), prefix=f".{version}."))
    try:
        try:
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                for member in archive:
                    parts = member.name.split("/")
                    if not member.isfile() or {"", ".", ".."} & set(parts):
                        raise Failed(f"The bundle holds {member.name!r}, which is no plain file")
                    target = folder.joinpath(*parts)
                    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                    with archive.extractfile(member) as source, target.open("xb") as file:
                        shutil.copyfileobj(source, file)
                    target.chmod(0o644)
        except (tarfile.TarError, EOFError, ValueError, FileExistsError, zlib.error) as error:
            raise Failed(f"The bundle is broken: {error}") from error
        compile_in(folder, version, python)
        for directory, _folders, files in os.walk(str(folder)):
            Path(directory).chmod(0o755)
            for name in files:
                Path(directory, name).chmod(0o644)
        why = trusted.altered(str(folder), params["sha256"])
        if why:
            raise Failed(f"The bundle is broken: {why}")
        os.sync()
        target = OPT / version
        if target.exists():
            erase(target)
        folder.rename(target)
    finally:
        if folder.is_dir():
            erase(folder)


def compile_in(folder, version, python):
    """Loads what is there. That proves that it runs on this Python, and compiles what is loaded:
    the service may not write there, and each start and each call would compile it again."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        f"import {LOADED}\n"
        "print(sys.implementation.cache_tag)"
    )
    try:
        tag = run(python, "-I", "-S", "-c", program, str(folder), timeout=120, env={}).split()[-1]
    except Failed as error:
        reason = str(error).splitlines()[-1]  # the end of a traceback says what was wrong
        raise Failed(f"Agent {version} does not run on {python}: {reason}") from error
    lines = [tag]
    for path in sorted(folder.rglob("*.pyc")):
        path.chmod(0o644)
        line = trusted.digest(str(path), path.stat())
        lines.append(f"{line} {path.relative_to(folder).as_posix()}")
    (folder / trusted.COMPILED).write_text("\n".join(lines) + "\n", encoding="utf-8")


def journal(since):
    """The agent's last lines, indented."""
    text = run(
        "journalctl", "--unit", SERVICE, "--since", f"@{since}",
        "--no-pager", "--quiet", "--output", "cat", check=False,
    )  # fmt: skip
    # With --since, --lines would count from there on, and not from the end.
    lines = text.strip().splitlines()[-JOURNAL_LINES:]
    return "\n".join("    " + line for line in lines) or "    (nothing)"


def masked(text):
    """agent.json as it may be shown."""
    if text is None:
        return ""
    try:
        document = json.loads(text)
        if "password" in document["mqtt"]:
            document["mqtt"]["password"] = "(hidden)"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "(not readable)\n"
    # Another indent than the file's: Ansible masks whatever equals the file's text.
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def shown(version, config, unit, active):
    """One side of a diff. A file that comes or goes as a whole is not shown line by line."""
    parts = [f"bundle {version or 'none'}, service {active}\n"]
    parts += [f"# {path}\n{text}" for path, text in ((CONFIG, config), (UNIT, unit)) if text]
    return "".join(parts)


class Agent:
    """What is installed, and what is to be done about it."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        self.version = current_version()
        self.config = read(CONFIG)
        self.unit = read(UNIT)
        self._same_cluster()
        self.service = service() if self.params["state"] != "unpacked" else {}

    def _same_cluster(self):
        """Two clusters on one host would take its agent from each other, apply by apply."""
        try:
            theirs = json.loads(self.config or "{}").get("cluster")
        except (ValueError, AttributeError, RecursionError):
            return  # not readable: an agent that cannot run, to be mended
        if not isinstance(theirs, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", theirs):
            return
        if self.params["cluster"] and theirs != self.params["cluster"]:
            raise Failed(
                f"This host belongs to the cluster {theirs}: it has that one's agent.\n"
                f"    next      `otto-run down` with the otto.yaml of {theirs}; if that is lost:"
                f" `sudo rm {CONFIG}` on the host, then again"
            )

    @property
    def active(self):
        return self.service.get("ActiveState", "unknown")

    def present(self):
        wanted = self.params["version"]
        broken = altered(wanted, self.params["sha256"])
        changes = []
        if self.version != wanted:
            changes.append("agent: {} -> {}".format(self.version or "none", wanted))
        elif broken:
            changes.append(f"bundle {wanted}: brought anew, because {broken}")
        if self.config != self.params["config"]:
            what = "written" if self.config is None else "changed"
            if self.config is not None and masked(self.config) == masked(self.params["config"]):
                what = "changed (a hidden value)"
            changes.append(f"{CONFIG}: {what}")
        elif not owns(CONFIG, 0o600):
            changes.append(f"{CONFIG}: owner and mode")
        if self.unit != self.params["unit"]:
            changes.append("{}: {}".format(UNIT, "written" if self.unit is None else "changed"))
        if not has_user():
            changes.append(f"user {USER}: created")
        if not owns(STATE, 0o750):
            changes.append(f"{STATE}: made")
        if self.service["UnitFileState"] != "enabled":
            changes.append("service: enabled")
        if FORMER.exists() and not changes:
            # Cut off in the middle: the files are new, what runs may be the former agent still.
            changes.append("service: its installation was cut off")
        if changes or self.active != "active":
            changes.append("service: %s" % ("restarted" if self.active == "active" else "started"))
        result = {
            "changed": bool(changes),
            "changes": changes,
            "former": self.version,
            "version": wanted,
        }
        if self.module._diff:
            known = self.unit is not None
            result["diff"] = {
                "before_header": "agent",
                "after_header": "agent",
                "before": shown(
                    self.version, masked(self.config), known and self.unit, self.active
                ),
                "after": shown(
                    wanted, masked(self.params["config"]), known and self.params["unit"], "active"
                ),
            }
        if not changes or self.module.check_mode:
            return result
        if broken and not self.params["bundle"]:
            return {"changed": False, "needs_bundle": True}
        self._install(broken)
        return result

    def _install(self, broken):
        wanted = self.params["version"]
        if "\nSupplementaryGroups=docker\n" in self.params["unit"]:
            try:
                grp.getgrnam("docker")
            except KeyError as error:
                raise Failed(
                    "This node has no group docker: install Docker first (role otto.cluster.docker)"
                ) from error
        if not has_user():
            run(
                "useradd", "--system", "--user-group", "--home-dir", str(STATE), "--no-create-home",
                "--shell", "/usr/sbin/nologin", "--comment", "Otto agent", USER,
            )  # fmt: skip
        user = pwd.getpwnam(USER)
        ETC.mkdir(mode=0o755, exist_ok=True)
        with beneath.opened(STATE, make=0o750) as state:
            os.fchown(state.descriptor, user.pw_uid, user.pw_gid)
            os.fchmod(state.descriptor, 0o750)
        if broken:
            unpack(self.params, python_of(self.params["unit"]))
        former = self._former()
        # Whoever goes on after a power cut in the middle of this has to know the way back.
        write(FORMER, json.dumps(former), 0o600)
        write(CONFIG, self.params["config"], 0o600, user.pw_uid, user.pw_gid)
        self._switch(wanted, self.params["unit"])
        begun = int(time.time())
        try:
            self._start(self.params["timeout"])
        except Failed as error:
            lines = journal(begun)
            outcome = self._put_back(former, user)
            raise Failed(
                f"Agent {wanted} did not come up: {error}\n{outcome}\n  its journal:\n{lines}"
            ) from error
        FORMER.unlink()
        keep = {wanted, former["version"] or wanted}
        for folder in OPT.iterdir():
            if folder.is_dir() and not folder.is_symlink() and folder.name not in keep:
                shutil.rmtree(str(folder))

    def _former(self):
        """{"version", "config", "unit", "active"}: what to put back. What an installation that was
        cut off has left in its place is not it."""
        try:
            former = json.loads(read(FORMER) or "")
            if (OPT / former["version"]).is_dir():
                return former
        except (ValueError, TypeError, KeyError):
            pass
        return {
            "version": self.version,
            "config": self.config,
            "unit": self.unit,
            "active": self.active,
        }

    def _switch(self, version, unit):
        if read(UNIT) != unit:
            write(UNIT, unit, 0o644)
            systemctl("daemon-reload")
        link(version)

    def _start(self, timeout):
        """Restart, wait for the agent's READY (the unit is of type notify), see that it lasts."""
        systemctl("enable", "--quiet", SERVICE)
        systemctl("reset-failed", SERVICE, check=False)
        systemctl("restart", SERVICE, timeout=timeout + 15)  # systemd gives up first, and says why
        process = service()["MainPID"]
        until = time.monotonic() + STEADY
        while True:
            seen = service()
            if seen["ActiveState"] != "active":
                raise Failed("the service is {}".format(seen["ActiveState"]))
            if seen["MainPID"] != process:
                raise Failed("it ended right after its start")
            if time.monotonic() >= until:
                return
            time.sleep(0.5)

    def _put_back(self, former, user):
        """The former agent, or none, as it was before. Says what became of it."""
        version = former["version"]
        if not (version and former["unit"] and former["config"] and (OPT / version).is_dir()):
            systemctl("disable", "--now", "--quiet", SERVICE, check=False)
            if CURRENT.is_symlink():
                CURRENT.unlink()
            FORMER.unlink()
            return "  There was none before, so none runs now."
        write(CONFIG, former["config"], 0o600, user.pw_uid, user.pw_gid)
        self._switch(version, former["unit"])
        FORMER.unlink()
        if former["active"] in ("inactive", "failed"):
            systemctl("stop", SERVICE)
            return f"  Agent {version} is put back; it did not run before and does not now."
        try:
            self._start(self.params["timeout"])
        except Failed as error:
            return f"  Agent {version} is put back, but does not come up either: {error}"
        return f"  Agent {version} is put back and runs; no container was touched."

    def unpacked(self):
        wanted = self.params["version"]
        changed = not CURRENT.is_dir() or bool(trusted.altered(str(CURRENT.resolve())))
        version = wanted if changed else self.version
        result = {"changed": changed, "former": self.version, "version": version}
        former = self.version or "none"
        result["changes"] = [f"agent: {former} -> {wanted} (not started)"] if changed else []
        if changed and not self.module.check_mode:
            if altered(wanted, self.params["sha256"]):
                if not self.params["bundle"]:
                    return {"changed": False, "needs_bundle": True}
                unpack(self.params, python_of(self.params["unit"]))
            link(wanted)
        return result

    def stopped(self):
        changed = self.active not in ("inactive", "failed")
        if changed and not self.module.check_mode:
            systemctl("stop", SERVICE)
        changes = ["service: stopped"] if changed else []
        return {
            "changed": changed,
            "changes": changes,
            "former": self.version,
            "version": self.version,
        }

    def absent(self):
        changes = []
        real = not self.module.check_mode
        if self.active not in ("inactive", "failed") or self.service["UnitFileState"] == "enabled":
            changes.append("service: stopped")
            if real:
                systemctl("disable", "--now", "--quiet", SERVICE)
        if self.unit is not None:
            changes.append(f"{UNIT}: removed")
            if real:
                UNIT.unlink()
                systemctl("daemon-reload")
                systemctl("reset-failed", SERVICE, check=False)
        # The policy of the node's owner is not Otto's, and holds for whoever comes next.
        etc = ETC if not POLICY.exists() else CONFIG
        for folder in (OPT, etc, STATE):
            if folder.exists():
                changes.append(f"{folder}: removed")
                if real and folder is CONFIG:
                    for path in (CONFIG, FORMER, PATHS):
                        path.unlink(missing_ok=True)
                elif real:
                    erase(folder)
        if has_user():
            changes.append(f"user {USER}: removed")
            if real:
                run("userdel", USER)
        diff = {"before": shown(self.version, masked(self.config), "", self.active), "after": ""}
        return {
            "changed": bool(changes), "changes": changes, "former": self.version, "version": "",
            **({"diff": diff} if self.module._diff else {}),
        }  # fmt: skip


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["present", "unpacked", "stopped", "absent"],
                "default": "present",
            },
            "installed": {"type": "dict"},
            "timeout": {"type": "int", "default": 60},
            "cluster": {"type": "str"},
            "version": {"type": "str"},
            "sha256": {"type": "str"},
            "bundle": {"type": "str", "no_log": True},  # not secret: half a megabyte
            "packed_sha256": {"type": "str"},
            "config": {"type": "str", "no_log": True},
            "unit": {"type": "str"},
        },
        required_if=[
            ("state", "present", ("version", "sha256", "config", "unit")),
            ("state", "unpacked", ("version", "sha256", "unit")),
        ],
        required_by={"bundle": ("packed_sha256",)},
        supports_check_mode=True,
    )
    try:
        if os.geteuid() != 0:
            raise Failed(
                "The agent is installed by root: let the node's user become root (`become: true`)"
            )
        result = getattr(Agent(module), module.params["state"])()
    except (Failed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
