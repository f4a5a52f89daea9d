# SPDX-License-Identifier: GPL-3.0-or-later
"""amqtt's door for the embedded broker; amqtt loads it by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amqtt.plugins.base import BaseAuthPlugin

from otto_run.broker import may_enter

if TYPE_CHECKING:
    from amqtt.session import Session


class Credentials(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed for strict mypy
    """One user name and password for all, as `mqtt` in otto.yaml says."""

    @dataclass
    class Config:
        username: str = ""
        password: str = field(default="", repr=False)

    async def authenticate(self, *, session: Session) -> bool:
        config: Any = self.config
        return may_enter(config.username, config.password, session.username, session.password)
