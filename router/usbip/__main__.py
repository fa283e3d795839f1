# SPDX-License-Identifier: BSD-2-Clause
"""`python -m router.usbip VERB …`, and what a zipapp of the package runs."""

from __future__ import annotations

import sys

HELP = """usage: usbip VERB [OPTION…]

Daemons
  serve           export granted devices to the clients that the policy names
  keep-attached   keep what a server grants attached to this machine
  automount       mount the file systems of routed disks as they come
  serve-disks     export granted disks as blocks, by NVMe over TCP
  keep-disks      keep the disks that a server exports as blocks attached to this machine

As in Linux's usbip
  list            -l: devices here; -r HOST: what HOST exports to us
  attach          -r HOST -b BUSID: attach a device of HOST
  detach          -p PORT: detach the device on that port
  port            what is attached here
  ports           virtual ports that can be used, free ones too
  hubs            this machine's own controllers and ports, and why a port is empty
  controllers     virtual host controllers: show, create, destroy
  bind            -b BUSID: give a local device to usbip-host
  unbind          -b BUSID: give it back to its own driver

The server that runs here
  status          its devices, to whom they are granted, who has them
  stats           transfers, bytes, errors, latencies
  grant           CLIENT BUSID: give a device to a client
  revoke          CLIENT BUSID: take it away
  reload          read the policy again

`usbip VERB --help` tells each one's options. Exit codes: 0; 1 a bug; 2 wrong input; 3 this machine lacks something;
4 the other machine did not do its part.
"""

VERBS = {
    "serve": "serve",
    "keep-attached": "keep_attached",
    "automount": "automount",
    "serve-disks": "serve_disks",
    "keep-disks": "keep_disks",
    "list": "list",
    "attach": "attach",
    "detach": "detach",
    "port": "port",
    "bind": "bind",
    "unbind": "bind",
    "ports": "ports",
    "hubs": "hubs",
    "controllers": "ports",
    "status": "status",
    "stats": "status",
    "grant": "status",
    "revoke": "status",
    "reload": "status",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; the exit code is 0 or the error's."""
    words = list(sys.argv[1:] if argv is None else argv)
    # `usbip --tcp-port 3241 list -r HOST`: Linux's tool takes the port before the verb.
    port: list[str] = []
    if words[:1] in (["-t"], ["--tcp-port"]) and len(words) > 2:
        port, words = ["--tcp-port", words[1]], words[2:]
    elif words and words[0].startswith("--tcp-port="):
        port, words = words[:1], words[1:]
    if not words or words[0] in ("help", "-h", "--help"):
        print(HELP, end="")
        return 0 if words else 2
    from router.errors import RouterError
    from router.usbip.runtime.text import printable

    for stream in (sys.stdout, sys.stderr):
        # A letter that this terminal's encoding lacks is shown as an escape, not as a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    verb = words[0]
    if verb in ("version", "--version"):
        from router import __version__

        print(f"usbip (router {__version__})")
        return 0
    if verb not in VERBS:
        print(f"error: there is no verb {verb!r}\n  {', '.join(VERBS)}; see --help", file=sys.stderr)
        return 2
    module = __import__(f"router.usbip.commands.{VERBS[verb]}", fromlist=["run"])
    if "--help" in words or "-h" in words[1:]:
        print(module.USAGE, end="")
        return 0
    try:
        code: int = module.run(verb, port + words[1:])
        return code
    except RouterError as error:
        sys.stdout.flush()
        print("\n".join(printable(line) for line in str(error).split("\n")), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; keep the interpreter from complaining at exit.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
