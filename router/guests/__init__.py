# SPDX-License-Identifier: BSD-2-Clause
"""Guest images out of Debian packages, the overlays that tell guests apart, the control channel to a running guest."""
