# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark: the same containers on the same hosts, by Otto and by what people use today."""
