# SPDX-License-Identifier: BSD-2-Clause
"""Who may have which device: the rules, their file, and changes to it while the server runs."""
