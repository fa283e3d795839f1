# SPDX-License-Identifier: BSD-2-Clause
"""Run as a script by a Python of the guest's version, whose library an older Python may not be able to read.

argv[1]: router/imports.py. Standard input: a marshalled list of (module name, source, whether it is a package).
Standard output: a marshalled list of the names that each imports at its top level. Format 2 of marshal is read by every
Python 3.
"""

import marshal
import runpy
import sys


def main() -> None:
    imports = runpy.run_path(sys.argv[1])["imports"]
    items = marshal.load(sys.stdin.buffer)
    found = [imports(source, name, package, whole=False) for name, source, package in items]
    sys.stdout.buffer.write(marshal.dumps(found, 2))


if __name__ == "__main__":
    main()
