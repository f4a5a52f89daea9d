# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the agent bundle: all that a node runs, out of what is installed on the control machine.

No network is needed. A bundle is known by the SHA-256 of its manifest, which names every file with
its own: two control machines that carry the same packages make the same bundle, byte for byte. Its
version is Otto's and the first digits of that, for people and for the name of its directory.

One that lies in the cache is looked into when it is sent (`Bundle.packed`): what was altered or cut
short there never leaves.
"""

from __future__ import annotations

import base64
import fcntl
import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.otto.cluster.plugins.module_utils import errors
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.trusted import MANIFEST
from ansible_collections.otto.cluster.plugins.plugin_utils.bundle_pins import PINS
from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

DISTRIBUTIONS = (
    "docker",
    "requests",
    "urllib3",
    "idna",
    "certifi",
    "paho-mqtt",
    "pyyaml",  # reads a node's policy, where there is one
)
# requests guesses with it what a page is written in, and does without it; the engine speaks UTF-8.
UNNEEDED = frozenset({"charset-normalizer"})
# Compiled, and only for speed: what has it does without.
FASTER = frozenset({"yaml/_yaml"})
OLDEST_PYTHON = "3.9"
MODE = 0o644
CORE = "ansible_collections/otto/cluster/plugins/module_utils"
DATA = frozenset({"certifi/cacert.pem"})  # requests reads it as soon as it is imported
# For a browser, and for people at a terminal: a node has neither.
UNUSED = ("urllib3/contrib/emscripten/", "idna/cli", "_yaml/")


@dataclass(frozen=True)
class Bundle:
    """A bundle on the control machine: `path` is a .tar.gz, to be unpacked as it stands.

    sha256: of its manifest.
    """

    version: str
    path: Path
    sha256: str

    def packed(self) -> bytes:
        """The .tar.gz, which holds what the manifest says. Raises OttoError where it does not."""
        content = self.path.read_bytes()
        try:
            # First all of it, so that an end which is missing is seen, too.
            plain = io.BytesIO(gzip.decompress(content))
            with tarfile.open(fileobj=plain, mode="r:") as archive:
                parts = {one.name: archive.extractfile(one) for one in archive if one.isfile()}
                texts = {name: part.read() for name, part in parts.items() if part is not None}
            manifest = texts.pop(MANIFEST, b"")
            right = hashlib.sha256(manifest).hexdigest() == self.sha256
            if not right or _manifest(map(_packed, texts.items())) != manifest:
                raise ValueError("it holds other files than its manifest names")
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
            raise OttoError(
                f"The bundle {self.path} is not as it was made",
                cause=str(error),
                next=typed("rm {}   (the next apply makes it anew)", self.path),
            ) from error
        return content


@dataclass(frozen=True)
class _File:
    name: str
    """path inside the bundle"""
    source: Path
    sha256: str


def current(cache: Path | None = None) -> Bundle:
    """The bundle of what is installed now, made if the cache (`<state>/.bundles`) lacks it.

    Takes some 10 ms when it is there. Raises OttoError that names the package at fault.
    """
    folder = cache if cache is not None else state_root() / ".bundles"
    files = sorted(_own_files() + _foreign_files(), key=lambda file: file.name)
    bundle = _named(files, folder)
    if not bundle.path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / "lock"):  # as many workers as nodes come here at once
            if not bundle.path.is_file():
                _check_distributions()
                _write(bundle.path, _archive(files))
    return bundle


def _named(files: list[_File], folder: Path) -> Bundle:
    digest = hashlib.sha256(_manifest(files)).hexdigest()
    version = f"{importlib.metadata.version('otto-cluster')}-{digest[:8]}"
    return Bundle(version, folder / f"{version}.tar.gz", digest)


def _manifest(files: Iterable[_File]) -> bytes:
    """See `trusted.MANIFEST`; every file of a bundle has the same mode."""
    lines = (f"{file.sha256} {MODE:o} {file.name}\n" for file in files)
    return "".join(sorted(lines, key=lambda line: line.split(" ", 2)[2])).encode()


def _packed(member: tuple[str, bytes]) -> _File:
    name, content = member
    return _File(name, Path(name), hashlib.sha256(content).hexdigest())


def _own_files() -> list[_File]:
    """The agent and the core: read, not looked up, because a checkout changes under its RECORD."""
    agent = importlib.util.find_spec("otto_agent")
    if agent is None or not agent.submodule_search_locations:
        raise OttoError(
            "The Python package otto_agent is not installed beside Ansible",
            cause="the agent bundle is made from it",
            next="pip install otto-cluster",
        )
    places = {
        "otto_agent": Path(next(iter(agent.submodule_search_locations))),
        CORE: Path(errors.__file__).parent,
    }
    return [
        _File(
            f"{place}/{path.relative_to(root).as_posix()}",
            path,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for place, root in places.items()
        for path in root.rglob("*.py")
    ]


def _foreign_files() -> list[_File]:
    return [file for name in DISTRIBUTIONS for file in files_of(name)]


def files_of(name: str) -> list[_File]:
    """Files of a distribution, with the digests that its RECORD gives: no file is opened."""
    distribution = _distribution(name)
    record = distribution.read_text("RECORD")
    if not record:
        raise _broken(name, "it was not installed by pip: it has no RECORD of its files")
    found = []
    for line in record.splitlines():
        path, _, rest = line.rpartition(",")[0].rpartition(",")
        if not _travels(path):
            continue
        algorithm, _, value = rest.partition("=")
        if algorithm != "sha256":
            raise _broken(name, f"its RECORD has no SHA-256 of {path}")
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
        found.append(_File(path, Path(str(distribution.locate_file(path))), digest))
    return found


def pin(files: Iterable[_File]) -> str:
    """What `bundle_pins.PINS` holds of a distribution: one digest of all that travels of it."""
    return hashlib.sha256(_manifest(files)).hexdigest()


def unpinned() -> list[str]:
    """Distributions of the bundle of which only what pip noted is known, as `name version`."""
    versions = [(name, _distribution(name).version) for name in DISTRIBUTIONS]
    return [f"{name} {version}" for name, version in versions if (name, version) not in PINS]


def _travels(path: str) -> bool:
    if path.startswith(("..", "/", '"')) or ".dist-info/" in path or path.startswith(UNUSED):
        return False
    return path.endswith(".py") or path in DATA


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise OttoError(
            f"The Python package {name} is not installed beside Ansible",
            cause="it is a part of the agent bundle that goes to the nodes",
            next=typed("pip install {}", name),
        ) from error


def _check_distributions() -> None:
    """Raises OttoError unless every distribution runs on any node: pure, old enough, complete."""
    # Only while a bundle is built: parsing requirements takes longer than all the rest.
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    node: dict[str, str | Set[str]] = {
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": OLDEST_PYTHON + ".0",
        "python_version": OLDEST_PYTHON,
        "sys_platform": "linux",
    }
    for name in DISTRIBUTIONS:
        distribution = _distribution(name)
        wanted = distribution.metadata["Requires-Python"] or ""
        if not SpecifierSet(wanted).contains(OLDEST_PYTHON + ".0"):
            raise _broken(
                name,
                f"{name} {distribution.version} wants Python {wanted},"
                f" and nodes may have Python {OLDEST_PYTHON}",
                next=typed("pip install --upgrade {}", f"{name}<{distribution.version}"),
            )
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate(node):
                continue
            if canonicalize_name(requirement.name) not in (*DISTRIBUTIONS, *UNNEEDED):
                raise _broken(
                    name,
                    f"{name} {distribution.version} needs {requirement.name},"
                    " which the bundle does not carry",
                    next="pip install --upgrade otto-cluster",
                )
        _check_pure(name, distribution)
        if PINS.get((name, distribution.version)) not in (None, pin(files_of(name))):
            raise _broken(
                name, f"its files are not those of {name} {distribution.version} as it was released"
            )


def _check_pure(name: str, distribution: importlib.metadata.Distribution) -> None:
    """A compiled module may be there if its Python source is too: the source travels alone."""
    paths = {line.split(",")[0] for line in (distribution.read_text("RECORD") or "").splitlines()}
    for path in sorted(paths):
        module = PurePosixPath(path)
        stem = module.name.split(".")[0]
        if (
            module.suffix in (".so", ".pyd")
            and not stem.endswith("__mypyc")  # helper of compiled modules, of no use to sources
            and str(module.with_name(stem)) not in FASTER
            and str(module.with_name(stem + ".py")) not in paths
        ):
            raise _broken(
                name,
                f"{path} is compiled for this machine and has no Python source",
                next=typed("pip install --force-reinstall --no-binary {0} {0}", name),
            )


def _broken(name: str, cause: str, next: str = "") -> OttoError:
    return OttoError(
        f"The Python package {name} cannot go into the agent bundle",
        cause=cause,
        next=next or typed("pip install --force-reinstall {}", name),
    )


def _archive(files: list[_File]) -> bytes:
    """A .tar.gz that depends on names and content only."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for file in files:
            try:
                content = file.source.read_bytes()
            except FileNotFoundError as error:
                raise _broken(file.name.split("/")[0], f"{file.source} is missing") from error
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise _broken(
                    file.name.split("/")[0], f"{file.source} was altered after its installation"
                )
            _add(archive, file.name, content)
        _add(archive, MANIFEST, _manifest(files))
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), MODE
    archive.addfile(member, io.BytesIO(content))


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    for older in sorted(path.parent.glob("*.tar.gz"), key=lambda entry: entry.stat().st_mtime)[:-5]:
        older.unlink(missing_ok=True)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
