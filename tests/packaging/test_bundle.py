# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent bundle: made from what pip installed, the same everywhere, fit for Python 3.9."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.trusted import MANIFEST
from ansible_collections.otto.cluster.plugins.plugin_utils import bundle
from ansible_collections.otto.cluster.plugins.plugin_utils.bundle_pins import PINS

from ..conftest import ROOT

NEEDED = {
    "otto_agent/__main__.py",
    f"{bundle.CORE}/model.py",
    "docker/__init__.py",
    "requests/__init__.py",
    "urllib3/__init__.py",
    "idna/__init__.py",
    "certifi/cacert.pem",
    "paho/mqtt/client.py",
}


def python39() -> str:
    """An interpreter of Python 3.9, the oldest that nodes have."""
    # The file first: a python3.9 in PATH may be a pyenv shim that leads nowhere.
    found = next(
        (str(path) for path in Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9")),
        shutil.which("python3.9"),
    )
    if not found:
        pytest.skip("there is no Python 3.9 on this machine")
    return found


def names(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        return set(archive.getnames())


def distribution(folder: Path, name: str, files: dict[str, str], metadata: str = "") -> None:
    """Lays out a distribution as pip does."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}")
    lines = [f"{info.name}/METADATA,,"]
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        digest = hashlib.sha256(text.encode()).digest()
        value = bundle.base64.urlsafe_b64encode(digest).decode().rstrip("=")
        lines.append(f"{path},sha256={value},{len(text)}")
    (info / "RECORD").write_text("\n".join(lines) + "\n")


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place for made-up distributions; the bundle consists of `odd` alone."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(bundle, "DISTRIBUTIONS", ("odd",))
    return tmp_path / "site"


def test_two_machines_make_the_same_bytes(tmp_path: Path) -> None:
    """Neither time nor place nor the order of files enters the archive."""
    first, second = bundle.current(tmp_path / "a"), bundle.current(tmp_path / "b")
    assert first.version == second.version
    assert first.path.read_bytes() == second.path.read_bytes()


def test_it_holds_all_that_a_node_runs_and_nothing_compiled(tmp_path: Path) -> None:
    found = names(bundle.current(tmp_path).path)
    assert found >= NEEDED
    assert {Path(name).suffix for name in found - {MANIFEST}} == {".py", ".pem"}
    assert not [name for name in found if name.startswith("charset_normalizer")]


def test_one_that_lies_there_is_found_quickly(tmp_path: Path) -> None:
    """Every apply asks for it, once for each node."""
    made = bundle.current(tmp_path)
    written = made.path.stat().st_mtime_ns
    begun = time.process_time()
    assert bundle.current(tmp_path) == made
    assert time.process_time() - begun < 0.03
    assert made.path.stat().st_mtime_ns == written


def test_version_follows_the_content(only: Path, tmp_path: Path) -> None:
    distribution(only, "odd", {"odd.py": "a = 1\n"})
    before = bundle.current(tmp_path / "cache").version
    shutil.rmtree(only)
    distribution(only, "odd", {"odd.py": "a = 2\n"})
    after = bundle.current(tmp_path / "cache").version
    assert before != after
    assert before.startswith("0.1.0-")


@pytest.mark.parametrize(
    ("files", "metadata", "cause", "next"),
    [
        (
            {"odd/fast.cpython-311-x86_64-linux-gnu.so": "x", "odd/__init__.py": ""},
            "",
            "has no Python source",
            "pip install --force-reinstall --no-binary odd odd",
        ),
        (
            {"odd.py": ""},
            "Requires-Python: >=3.10\n",
            "odd 1.0 wants Python >=3.10",
            "pip install --upgrade 'odd<1.0'",
        ),
        (
            {"odd.py": ""},
            "Requires-Dist: stranger (>=2)\n",
            "odd 1.0 needs stranger",
            "pip install --upgrade otto-cluster",
        ),
    ],
)
def test_a_package_that_a_node_cannot_run_is_named(
    only: Path, tmp_path: Path, files: dict[str, str], metadata: str, cause: str, next: str
) -> None:
    """With the command to type; nothing half is left in the cache."""
    distribution(only, "odd", files, metadata)
    with pytest.raises(OttoError) as caught:
        bundle.current(tmp_path / "cache")
    assert cause in caught.value.cause
    assert caught.value.next == next
    assert not list((tmp_path / "cache").glob("*.tar.gz"))


def test_a_compiled_module_beside_its_source_is_left_out(only: Path, tmp_path: Path) -> None:
    distribution(only, "odd", {"odd/fast.cpython-311-x86_64-linux-gnu.so": "x", "odd/fast.py": ""})
    found = names(bundle.current(tmp_path / "cache").path)
    assert {name for name in found if name.startswith("odd")} == {"odd/fast.py"}


def test_a_file_that_is_not_what_pip_installed_is_told(only: Path, tmp_path: Path) -> None:
    distribution(only, "odd", {"odd.py": "a = 1\n"})
    (only / "odd.py").write_text("a = 3\n")
    with pytest.raises(OttoError, match="odd") as caught:
        bundle.current(tmp_path / "cache")
    assert "altered" in caught.value.cause


def test_it_is_known_by_the_digest_of_a_manifest_that_names_every_file(tmp_path: Path) -> None:
    made = bundle.current(tmp_path)
    with tarfile.open(made.path) as archive:
        texts = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
        modes = {one.name: f"{one.mode:o}" for one in archive}
    manifest = texts.pop(MANIFEST)
    assert hashlib.sha256(manifest).hexdigest() == made.sha256
    assert made.version.endswith("-" + made.sha256[:8])
    lines = [line.split(" ", 2) for line in manifest.decode().splitlines()]
    assert lines == [
        [hashlib.sha256(texts[name]).hexdigest(), modes[name], name] for name in sorted(texts)
    ]


@pytest.mark.parametrize("spoil", ["cut", "byte", "other", "nothing"])
def test_what_lies_in_the_cache_and_is_another_thing_never_leaves(
    only: Path, tmp_path: Path, spoil: str
) -> None:
    """Cut short, a flipped bit, another bundle under its name: told with what to type."""
    distribution(only, "odd", {"odd.py": "a = 1\n" * 1000})
    made = bundle.current(tmp_path / "cache")
    content = made.packed()
    middle = len(content) // 2
    spoilt = {
        "cut": content[:-20],
        "byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "nothing": b"",
    }
    if spoil == "other":
        shutil.rmtree(only)
        distribution(only, "odd", {"odd.py": "a = 2\n"})
        spoilt["other"] = bundle.current(tmp_path / "cache").packed()
    made.path.write_bytes(spoilt[spoil])
    with pytest.raises(OttoError, match="not as it was made") as caught:
        made.packed()
    assert caught.value.next.startswith(f"rm {made.path}")


def test_every_version_that_otto_is_tested_with_is_pinned() -> None:
    """What is installed here is what was released; a new version wants a line of its own."""
    lines = {}
    for name in bundle.DISTRIBUTIONS:
        version = bundle.importlib.metadata.version(name)
        lines[name, version] = bundle.pin(bundle.files_of(name))
    assert lines.items() <= PINS.items(), "compare with the wheels, then add to bundle_pins.PINS"
    constraints = (ROOT / "constraints.txt").read_text().lower().splitlines()
    assert {f"{name}=={version}" for name, version in lines} <= set(constraints)
    assert bundle.unpinned() == []


def test_a_package_that_was_altered_with_its_record_is_refused(
    only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip's own note of the files is no witness; of another version nobody has another one."""
    distribution(only, "odd", {"odd.py": "a = 1\n", "more.py": ""})
    monkeypatch.setattr(bundle, "PINS", {("odd", "1.0"): bundle.pin(bundle.files_of("odd"))})
    bundle.current(tmp_path / "cache")
    assert bundle.unpinned() == []
    for files in ({"odd.py": "a = 2\n", "more.py": ""}, {"odd.py": "a = 1\n"}):
        shutil.rmtree(only)
        distribution(only, "odd", files)
        with pytest.raises(OttoError, match="odd cannot go into the agent bundle") as caught:
            bundle.current(tmp_path / "cache")
        assert "not those of odd 1.0 as it was released" in caught.value.cause
        assert caught.value.next == "pip install --force-reinstall odd"
    monkeypatch.setattr(bundle, "PINS", {("odd", "1.1"): "0" * 64})
    bundle.current(tmp_path / "cache")
    assert bundle.unpinned() == ["odd 1.0"]


def test_a_package_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundle, "DISTRIBUTIONS", ("no-such-package",))
    with pytest.raises(OttoError) as caught:
        bundle.current(tmp_path)
    assert caught.value.next == "pip install no-such-package"


def test_it_runs_on_python_39_with_nothing_else(tmp_path: Path) -> None:
    """The agent starts, the SDK and the MQTT client load, in an environment without packages."""
    environment = tmp_path / "python"
    interpreter = python39()
    subprocess.run([interpreter, "-m", "venv", "--without-pip", str(environment)], check=True)
    unpacked = tmp_path / "bundle"
    with tarfile.open(bundle.current(tmp_path / "cache").path) as archive:
        archive.extractall(unpacked, filter="data")
    done = subprocess.run(
        [
            str(environment / "bin" / "python"),
            "-c",
            "import sys, docker, paho.mqtt.client, otto_agent.__main__\n"
            f"from {bundle.CORE.replace('/', '.')} import engine, plan, reconcile, state\n"
            "print(sys.version_info[:2])",
        ],
        env={"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "(3, 9)", done.stderr
