# SPDX-License-Identifier: BSD-2-Clause
"""Who can reach what in the image that boots: from its capabilities, compared with its description and the plan."""
