# SPDX-License-Identifier: GPL-3.0-or-later
"""The node agent: keeps a node at its target for ever, and says over MQTT what it sees.

Runs on nodes: Python 3.9 syntax, standard library, the Docker SDK, paho-mqtt and Otto's core.
"""

__version__ = "0.1.0"
