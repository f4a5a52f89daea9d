# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that somebody else wrote, and what they can do on the control machine."""
