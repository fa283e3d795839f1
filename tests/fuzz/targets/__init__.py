# SPDX-License-Identifier: BSD-2-Clause
"""One module per target: `one_input(data)` raises for a bug, `seeds()` gives honest inputs."""
