# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each option looks to the engine: written into a create body, and read back. Pure.

For every option three functions, gathered in a `Side`:
payload(spec, body) writes it into the body of POST /containers/create;
expected(spec, image, engine) says what a container of this spec must show;
observed(inspect) says what a container does show.
The last two give the same shape: a flat dict of texts ({"": text} for a scalar, {} where nothing
stands), which are equal exactly when there is nothing to do, and which a person can read.
A spec that comes here is *resolved*: its networks and volumes have their engine names.
"""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .model import Engine, Spec

Shown = dict[str, str]
Body = dict[str, Any]
Image = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """update(spec): settings of POST /containers/<id>/update that bring the option to its new
    value, None where the engine cannot do that in place (it takes 0 for "leave it").
    inherits: the image has a say in it.
    adds(key, inspect): whether the engine may have set that key by itself; what it adds is a change
    only where the spec names it, or the last-applied one did.
    discards: a kernel that cannot do it makes the engine leave it out, and only its answer to the
    create tells: what a container was made with and does not show is no change.
    since: the API version that knows it; () for all.
    follows: the option that brings this one with it: what changes with that one is told as that one
    alone, unless the file names, or named, this one.
    """

    payload: Callable[[Spec, Body], None]
    expected: Callable[[Spec, Image, Engine], Shown]
    observed: Callable[[Mapping[str, Any]], Shown]
    update: Callable[[Spec], Mapping[str, Any] | None] | None = None
    inherits: bool = False
    adds: Callable[[str, Mapping[str, Any]], bool] | None = None
    discards: bool = False
    since: tuple[int, ...] = ()
    follows: str = ""


def always(key: str, inspect: Mapping[str, Any]) -> bool:
    """For `Side.adds`: the engine has a default of its own, and does not say which."""
    return True


def shown_host(inspect: Mapping[str, Any]) -> Mapping[str, Any]:
    """HostConfig of a container."""
    found: Mapping[str, Any] = inspect.get("HostConfig") or {}
    return found


def namespace(value: str) -> str:
    """A mode as the engine writes it. Names of services are resolved before; a container that
    belongs to no cluster is called like its service."""
    return value.replace("service:", "container:", 1) if value.startswith("service:") else value


def joined(spec: Spec) -> set[str]:
    """Names of containers whose namespaces a spec uses."""
    modes = [namespace(str(spec.get(key, ""))) for key in ("network_mode", "ipc", "pid")]
    return {mode[len("container:") :] for mode in modes if mode.startswith("container:")}


def api_at_least(engine: Engine, *version: int) -> bool:
    found = re.fullmatch(r"(\d+)\.(\d+)", engine.api_version)
    return found is None or (int(found.group(1)), int(found.group(2))) >= version


def one(value: Any) -> Shown:
    """The shape of a scalar; nothing for None and empty text."""
    return {} if value is None or value == "" else {"": show(value)}


def show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)


def show_size(value: int) -> str:
    """`512m`: the largest unit that divides it, so that equal texts are equal sizes."""
    for unit, factor in (("g", 1024**3), ("m", 1024**2), ("k", 1024)):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def show_duration(nanoseconds: int) -> str:
    for unit, factor in (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6)):
        if nanoseconds and nanoseconds % factor == 0:
            return f"{nanoseconds // factor}{unit}"
    return f"{nanoseconds}ns"


def show_words(words: Any) -> str:
    import shlex

    return " ".join(shlex.quote(word) for word in words)


def host_part(body: Body) -> Body:
    part: Body = body.setdefault("HostConfig", {})
    return part


def host(name: str, key: str, default: Any = None, *, form: Callable[[Any], Any] | None = None,
         back: Callable[[Any], str] = show,
         adds: Callable[[str, Mapping[str, Any]], bool] | None = None,
         discards: bool = False) -> Side:  # fmt: skip
    """A scalar of HostConfig. form: canonical -> engine; back: engine -> text."""
    made = _scalar(name, ("HostConfig", key), default, form or (lambda v: v), back, False, adds)
    return replace(made, discards=discards)


def config(name: str, key: str, default: Any = None, *, form: Callable[[Any], Any] | None = None,
           back: Callable[[Any], str] = show, inherits: bool = False) -> Side:  # fmt: skip
    """A scalar of Config; `inherits`: the image's Config has it under the same key."""
    return _scalar(name, ("Config", key), default, form or (lambda v: v), back, inherits, None)


def _scalar(
    name: str,
    place: tuple[str, str],
    default: Any,
    form: Callable[[Any], Any],
    back: Callable[[Any], str],
    inherits: bool,
    adds: Callable[[str, Mapping[str, Any]], bool] | None,
) -> Side:
    part, key = place

    def shape(value: Any) -> Shown:
        # What the engine leaves out, shows as null, or as empty, is its default.
        if value is None or value == "" or value == default:
            value = default
        return {} if value is None else {"": back(value)}

    def payload(spec: Spec, body: Body) -> None:
        if name in spec:
            (host_part(body) if part == "HostConfig" else body)[key] = form(spec[name])

    def expected(spec: Spec, image: Image, engine: Engine) -> Shown:
        if name in spec and name not in engine.without:
            return shape(form(spec[name]))
        if adds is not None:
            return shape(engine.defaults.get(name))
        return shape(image.get(key) if inherits else None)

    def observed(inspect: Mapping[str, Any]) -> Shown:
        return shape((inspect.get(part) or {}).get(key))

    return Side(payload, expected, observed, inherits=inherits, adds=adds)


def host_list(
    name: str, key: str, normal: Callable[[str], str] = str, ordered: bool = False
) -> Side:
    """A list of texts in HostConfig, null where there are none."""

    def shape(values: Any) -> Shown:
        found = [normal(value) for value in values or ()]
        return one(", ".join(found if ordered else sorted(set(found))))

    def payload(spec: Spec, body: Body) -> None:
        if spec.get(name):
            host_part(body)[key] = list(spec[name])

    return Side(
        payload,
        lambda spec, image, engine: shape(spec.get(name)),
        lambda inspect: shape(shown_host(inspect).get(key)),
    )


def host_map(name: str, key: str, since: tuple[int, ...] = ()) -> Side:
    """A mapping of texts in HostConfig, null where there is none."""

    def payload(spec: Spec, body: Body) -> None:
        if spec.get(name):
            host_part(body)[key] = dict(spec[name])

    return Side(
        payload,
        lambda spec, image, engine: {k: str(v) for k, v in (spec.get(name) or {}).items()},
        lambda inspect: {k: str(v) for k, v in (shown_host(inspect).get(key) or {}).items()},
        since=since,
    )


def resource(name: str, key: str, form: Callable[[Any], Any] = lambda v: v,
             back: Callable[[Any], str] = show, none: tuple[int, ...] = (0,)) -> Side:  # fmt: skip
    """A limit that the engine changes in place; 0, empty and null are "no limit".

    none: what the engine takes and shows for "no limit". It reads 0 as "leave it as it is", so that
    a limit can be taken away in place only where there is another value for that.
    """
    base = host(name, key, form=form, back=back)

    def observed(inspect: Mapping[str, Any]) -> Shown:
        value = shown_host(inspect).get(key)
        return {"": back(value)} if value and value not in none else {}

    def expected(spec: Spec, image: Image, engine: Engine) -> Shown:
        return {} if spec.get(name) in none else base.expected(spec, image, engine)

    def update(spec: Spec) -> Mapping[str, Any] | None:
        if spec.get(name):
            return {key: form(spec[name])}
        return {key: none[-1]} if none[-1] else None

    return Side(base.payload, expected, observed, update)


PLAN_ONLY = Side(lambda spec, body: None, lambda spec, image, engine: {}, lambda inspect: {})
"""An option that no container shows: the plan alone uses it."""
