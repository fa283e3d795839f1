# SPDX-License-Identifier: BSD-2-Clause
"""Starts our USB/IP program. `python3 usbip.pyz` goes through runpy, whose imports take 0.2 s and more in a guest."""

import sys

sys.path.insert(0, "/usr/lib/router/usbip.pyz")
from router.usbip.__main__ import main

sys.exit(main())
