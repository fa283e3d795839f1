# SPDX-License-Identifier: BSD-2-Clause
"""`python -m router` is `router`."""

import sys

from router.cli import main

sys.exit(main())
