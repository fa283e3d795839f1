# SPDX-License-Identifier: BSD-2-Clause
"""Print the JSON schema of descriptions, which editors use to complete and check them.

A description names it in its first line, as the shipped ones do:

  # yaml-language-server: $schema=description.schema.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "schema"
HELP = "print the JSON schema of descriptions, for editors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it there instead of on stdout")


def run(args: argparse.Namespace) -> int:
    from router.description.catalogue import shipped_catalogue
    from router.description.schema import schema_text
    from router.files import write

    text = schema_text(shipped_catalogue())
    if args.output is None:
        print(text, end="")
    else:
        write(args.output, text)
    return 0
