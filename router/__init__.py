# SPDX-License-Identifier: BSD-2-Clause
"""One YAML file in, a bootable seL4/Microkit system out that routes USB devices between isolated Linux guests."""

__version__ = "0.1.0"
