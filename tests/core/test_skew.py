# SPDX-License-Identifier: GPL-3.0-or-later
"""One version of difference either way; docs/architecture.md has the rule: "Between versions".

`recorded/state-0.1.0` is a state directory as 0.1.0 wrote it: a target that was reached, the next
one in the middle of its first step. It is never written anew: a later version gets its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import image_memory
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore, encode

RECORDED = sorted((Path(__file__).parent / "recorded").iterdir())
REACHED, BEGUN = "cf11f92447333845", "bef7125c6db505b3"


@pytest.fixture(params=RECORDED, ids=lambda path: str(path.name))
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "otto"))


def test_what_an_earlier_version_wrote_is_read(directory: Path) -> None:
    """Target, last good one, revisions, and where the run was cut off."""
    store = TargetStore(directory)
    loaded, good = store.load(), store.good()
    assert (loaded.source, loaded.problem) == ("current", "")
    assert loaded.target is not None and good is not None
    assert (loaded.target.revision, good.revision) == (BEGUN, REACHED)
    cut = Journal(directory).interrupted()
    assert cut is not None
    assert (cut.holder, cut.operation) == ("apply by ann", "start container web")
    revisions = Revisions(directory)
    assert [entry["revision"] for entry in revisions.index()] == [REACHED, BEGUN]
    assert revisions.read(REACHED) == good
    image_memory.read(directory)


def test_what_we_write_is_what_an_earlier_version_wrote(directory: Path) -> None:
    """Byte for byte, for a target that uses nothing new: so the version before reads it, its
    revision stays, and no upgrade makes a change of it."""
    store = TargetStore(directory)
    raw = store.current_path.read_bytes()
    target = store.read()
    assert target is not None
    assert encode(target) == raw


def test_a_later_version_may_say_more(directory: Path) -> None:
    """A key that is not known here is harmless to leave out, or the format is another one."""
    document = json.loads((directory / "target.json").read_bytes())["target"]
    assert Target.from_json({**document, "later": {"key": 1}}) == Target.from_json(document)
    with pytest.raises(ValueError, match="another version of Otto"):
        Target.from_json({**document, "format": 2})
