# SPDX-License-Identifier: BSD-2-Clause
"""Say what this computer has of what router uses, what is missing, and the command that mends it.

Exit code 0 when `router build` and `router run` can work here (a missing Microkit SDK only keeps `loader.img` from
being made), 3 otherwise.
"""

from __future__ import annotations

import argparse
import json

NAME = "doctor"
HELP = "what is installed, what is missing, and how to get it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def run(args: argparse.Namespace) -> int:
    from router.doctor import examine

    findings = examine()
    if args.json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{finding.state:<8} {finding.what:<{width}}  {finding.detail}")
            if finding.mend:
                print(f"{'':<8} {'':<{width}}  → {finding.mend}")
    return 3 if any(finding.state == "missing" for finding in findings) else 0
