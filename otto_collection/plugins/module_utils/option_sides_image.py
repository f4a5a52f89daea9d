# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container takes from its image: how the engine shows it. Pure."""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from typing import Any

from .model import Engine, Spec
from .option_engine import Body, Image, Shown, Side, one, show_words


def _image_payload(spec: Spec, body: Body) -> None:
    body["Image"] = spec["image"]


IMAGE = Side(
    _image_payload,
    lambda spec, image, engine: one(spec.get("image")),
    lambda inspect: one((inspect.get("Config") or {}).get("Image")),
)


def _command_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    if "command" in spec:
        return one(show_words(spec["command"]))
    if spec.get("entrypoint"):  # one's own clears the image's command; none at all runs it
        return {}
    return one(show_words(image.get("Cmd") or ()))


def _command_payload(spec: Spec, body: Body) -> None:
    if "command" in spec:
        body["Cmd"] = list(spec["command"])


COMMAND = Side(
    _command_payload,
    _command_expected,
    lambda inspect: one(show_words((inspect.get("Config") or {}).get("Cmd") or ())),
    inherits=True,
)


def _entrypoint_payload(spec: Spec, body: Body) -> None:
    if "entrypoint" in spec:
        body["Entrypoint"] = list(spec["entrypoint"])  # an empty one is none, not the image's


def _entrypoint(words: Any) -> Shown:
    return {} if list(words or ()) == [""] else one(show_words(words or ()))


ENTRYPOINT = Side(
    _entrypoint_payload,
    lambda spec, image, engine: _entrypoint(spec.get("entrypoint", image.get("Entrypoint"))),
    lambda inspect: _entrypoint((inspect.get("Config") or {}).get("Entrypoint")),
    inherits=True,
)


def _pairs(lines: Any) -> Shown:
    return dict(line.partition("=")[::2] for line in lines or ())


def _environment_payload(spec: Spec, body: Body) -> None:
    if spec.get("environment"):
        body["Env"] = [f"{key}={value}" for key, value in sorted(spec["environment"].items())]


ENVIRONMENT = Side(
    _environment_payload,
    lambda spec, image, engine: {**_pairs(image.get("Env")), **spec.get("environment", {})},
    lambda inspect: _pairs((inspect.get("Config") or {}).get("Env")),
    inherits=True,
)


def _labels_payload(spec: Spec, body: Body) -> None:
    if spec.get("labels"):
        body.setdefault("Labels", {}).update(spec["labels"])


def _foreign_labels(labels: Any) -> Shown:
    return {k: v for k, v in (labels or {}).items() if not k.startswith("io.otto.")}


LABELS = Side(
    _labels_payload,
    lambda spec, image, engine: _foreign_labels(
        {**(image.get("Labels") or {}), **spec.get("labels", {})}
    ),
    lambda inspect: _foreign_labels((inspect.get("Config") or {}).get("Labels")),
    inherits=True,
)
