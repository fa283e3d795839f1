# SPDX-License-Identifier: BSD-2-Clause
"""The verbs `status`, `stats`, `grant`, `revoke` and `reload`: a running server of this machine."""

from __future__ import annotations

from router.usbip.runtime.options import Options, UsageError
from router.usbip.server import control

USAGE = """usage: usbip status [--json] | usbip stats [--json|--prometheus] | usbip reload
       usbip grant CLIENT BUSID [--port N] [--take]
       usbip revoke CLIENT BUSID

Requests to the server that runs on this machine.

  status          every USB device here, to whom it is granted, and who has it
  stats           transfers, bytes, errors and latencies by device and endpoint (of the engines usbfs and virtual)
  grant           give the device in the port BUSID to CLIENT (an IP address); it is written into the policy file
  revoke          take it away again
  reload          read the policy file again

  --json          as JSON
  --prometheus    with stats: as Prometheus reads it
  --port N        with grant: attach it to the client's virtual port N
  --take          with grant: even if another client has it now
  --control PATH  the server's control socket, /run/router-usbip.sock by default
"""


def run(verb: str, argv: list[str]) -> int:
    options = Options(
        argv,
        {"--control": "control", "--port": "port"},
        {"--json": "json", "--prometheus": "prometheus", "--take": "take"},
    )
    words = [verb, *options.words]
    if len(options.words) != (2 if verb in ("grant", "revoke") else 0):
        raise UsageError(f"{verb} takes {'CLIENT BUSID' if verb in ('grant', 'revoke') else 'no words'}", "see --help")
    if verb == "grant" and options.number("port", 0):
        words.append(str(options.number("port", 0)))
    if verb == "grant" and "take" in options.flags:
        words.append("take")
    words += [name for name in ("json", "prometheus") if name in options.flags]
    print(control.ask(words, options.get("control", control.SOCKET)), end="")
    return 0
