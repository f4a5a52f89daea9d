# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run push`: an image of this machine's Docker goes to nodes over SSH, with no registry.

A node's engine is told of every layer and sent those that it lacks: `docker load` reads no layer
whose chain of parents it has already. Where it will not have that (the containerd image store),
the whole image is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils import beneath
from ansible_collections.otto.cluster.plugins.module_utils.cluster import DOCKER_URL, Node
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.image_names import pinned
from ansible_collections.otto.cluster.plugins.module_utils.transport import Transport
from ansible_collections.otto.cluster.plugins.module_utils.wire import FAILURES
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import Misfit

from otto_run import lock, processes, render, ssh
from otto_run.exits import Code, Stop
from otto_run.session import Session, say

_CHUNK = 1 << 18
_WORDS = 64 << 10  # bytes of what a program says of its failure
_BLOCK = 512
_AT_ONCE = 8
_REMOTE_PYTHON = "/usr/bin/python3"
_REMOTE_STATE = "/var/lib/otto"

# What runs on the node: it says what is there, takes a tar of the announced size from its input
# and hands it to the engine. An input that ends early is never a load: the engine's request is cut
# off before its announced length. It is root there and writes where the agent may: by `beneath`,
# whose text stands before it.
_NODE = (
    f"{inspect.getsource(beneath)}\n"
    + r"""
import http.client, json, os, socket, sys
P = json.loads(sys.argv[1])
class Engine(http.client.HTTPConnection):
    def connect(self):
        url = P["docker_url"]
        if url.startswith("unix://"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(600)
            self.sock.connect(url[len("unix://"):])
        else:
            host, port = url.split("://", 1)[1].rsplit(":", 1)
            self.sock = socket.create_connection((host.strip("[]"), int(port)), 600)
def get(path):
    engine = Engine("docker")
    engine.request("GET", path)
    answer = engine.getresponse()
    body = answer.read().decode("utf-8", "replace")
    engine.close()
    return json.loads(body) if answer.status < 300 else None
def tell(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
def work():
    info = get("/info") or {}
    images = [get("/images/%s/json" % row["Id"]) for row in get("/images/json") or ()]
    images = [image for image in images if image]
    named = get("/images/%s/json" % P["path"])
    tell(ids=[image["Id"] for image in images], named=(named or {}).get("Id", ""),
         layers=[(image.get("RootFS") or {}).get("Layers") or [] for image in images],
         containerd="containerd.snapshotter" in json.dumps(info.get("DriverStatus") or []))
    left = json.loads(sys.stdin.buffer.readline() or b"0")
    if not left:
        return
    engine = Engine("docker")
    engine.putrequest("POST", "/images/load?quiet=1")
    engine.putheader("Content-Type", "application/x-tar")
    engine.putheader("Content-Length", str(left))
    engine.endheaders()
    try:
        while left:
            piece = sys.stdin.buffer.read(min(left, 1 << 18))
            if not piece:
                os._exit(3)
            engine.send(piece)
            left -= len(piece)
    except BrokenPipeError:
        pass
    answer = engine.getresponse()
    text = answer.read().decode("utf-8", "replace")
    error = "" if answer.status < 300 else text
    for line in text.splitlines():
        if line.strip().startswith("{") and "error" in json.loads(line):
            error = json.loads(line)["error"]
    found = get("/images/%s/json" % P["path"]) or {}
    known = [image["Id"] for image in images]
    if not error and found and found["Id"] not in known:
        with opened(Path(P["state_dir"]) / "pushed", make=0o750) as notes:
            notes.replace(found["Id"].split(":")[-1], P["reference"].encode(), 0o640)
    layers = (found.get("RootFS") or {}).get("Layers") or []
    tell(id=found.get("Id", ""), layers=layers, error=error)
try:
    work()
except Exception as failure:
    tell(error="%s: %s" % (type(failure).__name__, failure))
"""
)


@dataclass(frozen=True)
class Pushed:
    """sent, saved: bytes of the image. there: it was there already, nothing was sent."""

    node: str
    id: str = ""
    sent: int = 0
    saved: int = 0
    layers: int = 0
    layers_sent: int = 0
    there: bool = False
    whole: str = ""
    """why all of it was sent although layers were there"""
    error: str = ""
    next: str = ""


class Refused(Exception):
    """The node's engine did not take what it was sent."""


# ---- the image on this machine


class Image:
    """An image as `docker save` gives it, in a file without a name: nothing is left of it."""

    def __init__(self, reference: str, file: IO[bytes]) -> None:
        self.reference = reference
        self._file = file
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = {member.name: member for member in archive.getmembers()}
            manifest = json.loads(_content(archive, members["manifest.json"]))[0]
            self.config = _content(archive, members[manifest["Config"]])
            self._layers = [_place(members, name) for name in manifest["Layers"]]
        self.id = "sha256:" + hashlib.sha256(self.config).hexdigest()
        self.diff_ids: list[str] = json.loads(self.config)["rootfs"]["diff_ids"]

    def there(self, chains: Sequence[Sequence[str]]) -> int:
        """How many of the layers, from the lowest on, a node has: with the same ones below them."""
        best = 0
        for chain in chains:
            count = 0
            for mine, other in zip(self.diff_ids, chain, strict=False):
                if mine != other:
                    break
                count += 1
            best = max(best, count)
        return best

    def archive(self, skip: int) -> tuple[int, list[bytes | tuple[int, int]]]:
        """(bytes, pieces) of a tar without the contents of the first `skip` layers.

        A piece is bytes, or (offset, size) in the file. The manifest comes last: what is cut off
        cannot be loaded.
        """
        config = self.id.partition(":")[2] + ".json"
        names = [f"{number}/layer.tar" for number in range(len(self._layers))]
        manifest = [{"Config": config, "RepoTags": [self.reference], "Layers": names}]
        parts: list[tuple[str, bytes | tuple[int, int]]] = [(config, self.config)]
        parts += list(zip(names, self._layers, strict=True))[skip:]
        parts.append(("manifest.json", json.dumps(manifest).encode()))
        total, pieces = 0, []
        for name, part in parts:
            size = len(part) if isinstance(part, bytes) else part[1]
            member = tarfile.TarInfo(name)
            member.size, member.mode = size, 0o644
            padding = bytes(-size % _BLOCK)
            header = member.tobuf(tarfile.GNU_FORMAT)
            pieces += [header, part, padding]
            total += len(header) + size + len(padding)
        return total + 2 * _BLOCK, [*pieces, bytes(2 * _BLOCK)]

    def read(self, piece: bytes | tuple[int, int]) -> Iterator[bytes]:
        """May be called by several threads at once."""
        if isinstance(piece, bytes):
            yield piece
            return
        offset, left = piece
        while left:
            chunk = os.pread(self._file.fileno(), min(left, _CHUNK), offset)
            if not chunk:
                raise OSError("the copy of the image ended early")
            yield chunk
            offset, left = offset + len(chunk), left - len(chunk)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def _place(members: Mapping[str, tarfile.TarInfo], name: str) -> tuple[int, int]:
    member = members[name]
    if member.issym():  # a layer that occurs twice
        member = members[os.path.normpath(str(Path(name).parent / member.linkname))]
    return member.offset_data, member.size


@contextlib.contextmanager
def saved(reference: str, directory: Path, url: str) -> Iterator[Image]:
    """The image out of the engine at `url`. Raises OttoError when it is not there."""
    with Transport(url) as engine:
        path = "/images/{}".format(quote(reference, safe="/:@"))
        if engine.find(f"{path}/json") is None:
            raise OttoError(
                f"This machine's Docker has no image {reference}",
                cause=f"{url} does not know the name",
                next=typed(
                    "docker images; docker pull {0}   (or docker build -t {0} .)", reference
                ),
            )
        with tempfile.TemporaryFile(dir=directory) as file:
            response = engine.call("GET", f"{path}/get", timeout=300, stream=True)
            try:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
            except FAILURES as error:
                raise engine.silent(error, f"docker save {reference}") from error
            finally:
                response.close()
            file.flush()
            file.seek(0)
            yield Image(reference, file)


# ---- one node


class Line:
    """The program on a node, with its input and output."""

    def __init__(self, here: Session, node: Node, reference: str) -> None:
        state = str(here.paths.node(node.id)) if node.is_local else _REMOTE_STATE
        parameters = {
            "docker_url": node.docker_url,
            "path": quote(reference, safe="/:@"),
            "reference": reference,
            "state_dir": node.state_dir or state,
        }
        python = sys.executable if node.is_local else node.python or _REMOTE_PYTHON
        # -I: what lies in the directory that it starts in is not imported.
        command = [python, "-I", "-c", _NODE, json.dumps(parameters)]
        if not node.is_local:
            command = interpreter.guarded(python, command)
            command = [*(["sudo", "-n"] if node.become else []), *command]
            way = [*ssh.options(node, here.known_hosts), ssh.destination(node)]
            command = ["ssh", *way, shlex.join(command)]
        self._python = python
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def hear(self) -> dict[str, Any]:
        """The next thing that it says. Raises Refused when it says none, or an error."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline(answers.MOST_BYTES + 1)
        if not line:
            raise Refused(self._last_words() or "the connection ended")
        try:
            found = answers.said(answers.PUSH, line.decode("utf-8", "replace"))
        except Misfit as misfit:
            said = line.decode("utf-8", "replace")
            if said.startswith(interpreter.MARK):
                raise interpreter.refusal(self._python, said) from None
            raise Refused(self._last_words() or str(misfit)) from None
        if found.get("error"):
            raise Refused(found["error"])
        return found

    def _last_words(self) -> str:
        """What it said of a failure: the end of it, and not more than that is read."""
        self._process.kill()
        assert self._process.stderr is not None
        text = self._process.stderr.read(_WORDS)
        return render.clean(text.decode("utf-8", "replace"), 300)

    def say(self, pieces: Iterator[bytes]) -> None:
        assert self._process.stdin is not None
        # Who does not listen any more has said why.
        with contextlib.suppress(BrokenPipeError):
            for piece in pieces:
                self._process.stdin.write(piece)
            self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _send(
    line: Line, image: Image, have: Mapping[str, Any], whole: str, told: Callable[[int, int], None]
) -> Pushed:
    """One attempt on an open line; see `Pushed`. Raises Refused."""
    full, _ = image.archive(0)
    skip = 0 if whole else image.there(have["layers"])
    total, pieces = image.archive(skip)
    done = 0

    def stream() -> Iterator[bytes]:
        nonlocal done
        yield f"{total}\n".encode()
        for piece in pieces:
            for chunk in image.read(piece):
                yield chunk
                done += len(chunk)
                told(done, total)

    line.say(stream())
    found = line.hear()
    if found.get("id") != image.id and found.get("layers") != image.diff_ids:
        raise Refused(f"it has {found.get('id') or 'nothing'} under the name, and not {image.id}")
    count = len(image.diff_ids)
    return Pushed("", found.get("id", ""), total, full - total, count, count - skip, whole=whole)


def push_to(here: Session, node: Node, image: Image, told: Callable[[int, int], None]) -> Pushed:
    """Bring an image to one node. Errors are in what is returned."""
    whole = ""
    have: Mapping[str, Any] = {}
    while True:
        line = Line(here, node, image.reference)
        try:
            have = line.hear()
            if not have.keys() >= {"named", "layers", "containerd"}:
                raise Refused("it did not say what it has")
            if have["named"] == image.id:
                line.say(iter([b"0\n"]))
                size = image.archive(0)[0]
                return Pushed(node.id, image.id, 0, size, len(image.diff_ids), there=True)
            if have["containerd"]:
                whole = "its containerd image store takes no image in parts"
            return replace(_send(line, image, have, whole, told), node=node.id)
        except Refused as error:
            if whole or not image.there(have.get("layers") or ()):
                return Pushed(
                    node.id, error=str(error), next=typed("otto-run doctor --limit {}", node.id)
                )
            whole = f"its engine refused a part ({error})"
        except OttoError as error:
            return Pushed(node.id, error=f"{error.message}: {error.cause}", next=error.next)
        finally:
            line.end()


# ---- the command


def push(
    here: Session, reference: str, names: Sequence[str], *, as_json: bool, accept: bool
) -> Code:
    """names: node ids; none for all nodes whose services use the image."""
    if pinned(reference):
        raise Stop(
            Code.USAGE,
            f"{reference}: a digest is a registry's word, and no registry has part in a push\n"
            f"    next      {typed('otto-run push {}', reference.partition('@')[0])}",
        )
    nodes = here.chosen(_users(here, reference) if not names else here.limited(names))
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.hold(here.paths.lock, "otto-run push"))
        here.trust([node.id for node in nodes], accept=accept)
        processes.become_subreaper()
        url = os.environ.get("DOCKER_HOST", DOCKER_URL)
        image = stack.enter_context(saved(reference, here.paths.runs.parent, url))
        try:
            found = _side_by_side(here, nodes, image)
        except BaseException:
            processes.end_all()
            raise
        here.note("push", {one.node: _result(one) for one in found})
    if as_json:
        document = {"image": reference, "id": image.id, "nodes": [asdict(one) for one in found]}
        print(render.as_json(document))
    else:
        for one in found:
            print(_told(one, reference))
    return Code.FAILED if any(one.error for one in found) else Code.DONE


def _result(one: Pushed) -> str:
    """For the audit log."""
    return "failed" if one.error else "done" if one.there else "changed"


def _users(here: Session, reference: str) -> list[str]:
    wanted = _whole_name(reference)
    users = [
        node
        for node, services in here.wanted.items()
        if any(_whole_name(str(spec["image"])) == wanted for spec in services.values())
    ]
    if not users:
        raise Stop(
            Code.USAGE,
            f"no service of {here.file.name} uses {reference}\n"
            "    next      "
            + typed("otto-run push {} --node {}", reference, next(iter(here.nodes))),
        )
    return users


def _whole_name(reference: str) -> str:
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def _side_by_side(here: Session, nodes: Sequence[Node], image: Image) -> list[Pushed]:
    last: dict[str, float] = {}
    guard = threading.Lock()

    def one(node: Node) -> Pushed:
        def told(done: int, total: int) -> None:
            now = time.monotonic()
            if now - last.setdefault(node.id, now) >= 1:
                last[node.id] = now
                with guard:
                    say(f"{node.id}: {render.size(done)} of {render.size(total)}")

        return push_to(here, node, image, told)

    pool = ThreadPoolExecutor(min(_AT_ONCE, len(nodes)))
    try:
        return list(pool.map(one, nodes))
    except BaseException:
        # The threads wait for their children; those end, and so do they.
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _told(one: Pushed, reference: str) -> str:
    if one.error:
        return render.problem(one.node, f"{reference} did not get there", one.error, one.next)
    if one.there:
        return f"{one.node}: has {reference} already ({one.id[:19]})"
    text = f"{one.node}: {reference} is there ({one.id[:19]}): {render.size(one.sent)} sent"
    text += f" in {one.layers_sent} of {one.layers} layers, {render.size(one.saved)} saved"
    return f"{text}; {one.whole}" if one.whole else text
