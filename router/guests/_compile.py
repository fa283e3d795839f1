# SPDX-License-Identifier: BSD-2-Clause
"""Run as a script by a Python of the guest's version: compiles sources to .pyc, the same bytes every time.

Standard input: a marshalled list of (module name, path in the guest, source, optimisation level as of compile()).
Standard output: a marshalled list of (module name, .pyc). Format 2 of marshal is read by every Python 3.
A process of its own, because marshal's output depends on which strings the compiling interpreter happens to share.
"""

import importlib.util
import marshal
import sys


def main() -> None:
    # PEP 552: flags 1 = hash-based, not to be checked against a source; the hash field is then of no consequence.
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    result = []
    for name, path, text, optimise in marshal.load(sys.stdin.buffer):
        code = compile(text, path, "exec", dont_inherit=True, optimize=optimise)
        result.append((name, header + marshal.dumps(code)))
    sys.stdout.buffer.write(marshal.dumps(result, 2))


if __name__ == "__main__":
    main()
