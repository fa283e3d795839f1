# SPDX-License-Identifier: BSD-2-Clause
"""From a description to a build folder: calls the planning rooms in order and is the one that writes files."""
