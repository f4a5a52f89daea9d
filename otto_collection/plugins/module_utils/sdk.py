# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker SDK: found on a node (the one in Otto's bundle first), and as the way to an engine."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.trusted import distrusted_tree

_ANY_VERSION = "1.41"
BUNDLE = Path("/opt/otto/current")
"""What the agent runs from. It holds a pure-Python SDK that was tested with this Otto."""


def docker_module(bundle: Path = BUNDLE) -> Any:
    """The `docker` package. A machine with a bundle is a node, and uses the SDK of the bundle.

    Raises OttoError with the command that installs it when there is none.
    """
    if "docker" not in sys.modules and (bundle / "docker").is_dir() and str(bundle) not in sys.path:
        check_owner(bundle)
        # First, so that a node's old python3-requests never meets the bundle's SDK. It stays on
        # the path because requests and urllib3 import parts of themselves late.
        sys.path.insert(0, str(bundle))
    try:
        with warnings.catch_warnings():
            # The bundle leaves it out: it takes a twentieth of the agent's memory, for nothing.
            warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
            docker = importlib.import_module("docker")
            importlib.import_module("docker.errors")
    except ImportError as error:
        raise OttoError(
            "The Docker SDK for Python is missing on this node",
            cause=f"{error} ({sys.executable} has no {bundle})",
            next="otto-run apply   (or ansible-playbook site.yml: both install it with the agent;"
            " without the agent: apt-get install python3-docker)",
        ) from error
    if not hasattr(docker, "APIClient"):
        raise OttoError(
            "What Python finds as `docker` is not the Docker SDK",
            cause="it is %s" % (getattr(docker, "__file__", None) or list(docker.__path__)),
            next="pip uninstall docker-py; apt-get install python3-docker",
        )
    return docker


def check_owner(bundle: Path = BUNDLE) -> None:
    """Raises OttoError where others than root may write what root is about to run."""
    if os.geteuid() != 0:
        return
    try:
        why = distrusted_tree(os.path.realpath(bundle))
    except OSError as error:
        why = str(error)
    if why:
        raise OttoError(
            "Otto's bundle on this node is not root's alone, so nothing of it is run",
            cause=why,
            next="otto-run apply   (brings it anew)",
        )
    sys.dont_write_bytecode = True  # it holds what it was made of, and nothing else


class Sdk:
    """A `wire.Carrier` that goes by the SDK's client: modules reach their engine so.

    Raises OttoError when the SDK is missing.
    """

    def __init__(self, url: str) -> None:
        self._docker = docker = docker_module()

        class Client(docker.APIClient):  # type: ignore[misc, name-defined]
            # No engine is behind a proxy: requests would look for one, and for a .netrc, each time.
            trust_env = _AlwaysFalse()

        # The version is a part of every path here, so the client need not ask for it.
        self.client = Client(base_url=url, version=_ANY_VERSION, max_pool_size=32)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None,
    ) -> _Answer:
        response = self.client.request(
            method,
            self.client.base_url + path,
            params=params,
            json=body,
            headers=headers,
            timeout=timeout,
            stream=True,
        )
        return _Answer(self._docker, response)

    def close(self) -> None:
        self.client.close()


class _Answer:
    def __init__(self, docker: Any, response: Any) -> None:
        self.status_code = int(response.status_code)
        self._docker = docker
        self._response = response

    def content(self) -> bytes:
        return bytes(self._response.content)

    def read(self, size: int) -> bytes:
        with self._as_failure():
            return bytes(self._response.raw.read(size))

    def iter_lines(self) -> Iterator[bytes]:
        yield from self._response.iter_lines(chunk_size=None)

    def interrupt(self) -> None:
        # The SDK knows where the socket is, below everything that wraps it.
        with contextlib.suppress(OSError, AttributeError):
            self._docker.types.CancellableStream(iter(()), self._response).close()

    def close(self) -> None:
        self._response.close()

    @contextlib.contextmanager
    def _as_failure(self) -> Iterator[None]:
        """What urllib3 raises by itself is no OSError; what requests makes of it is one."""
        try:
            yield
        except importlib.import_module("urllib3.exceptions").HTTPError as error:
            raise OSError(str(error)) from error


class _AlwaysFalse:
    """An attribute that stays False whatever a base class assigns to it."""

    def __get__(self, _instance: object, _owner: object = None) -> bool:
        return False

    def __set__(self, _instance: object, _value: object) -> None:
        pass
