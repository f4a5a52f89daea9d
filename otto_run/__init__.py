# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane: the commands, the run of Ansible, the broker, the listener, the store.

It never imports `otto_agent`: what an agent says arrives over MQTT, and a local node's agent is a
child process.
"""
