# SPDX-License-Identifier: BSD-2-Clause
"""What the user wrote: one YAML file, read strictly, every error with its place in the file."""
