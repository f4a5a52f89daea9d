# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: simulated hosts with real systemd, sshd and Docker on one Debian machine."""
