# SPDX-License-Identifier: BSD-2-Clause
"""One module per verb of `usbip`, or per few that belong together: options in, text out."""
