# SPDX-License-Identifier: BSD-2-Clause
"""Run in a test's network namespace: U-Boot loads a file through a relay that spoils packets; prints what came of it.

Arguments: serial device, our address, the board's, and a JSON list of [window, impairment, seconds]: what takes longer
than that is done again, up to twice, since other work on this computer slows it down as well.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
import zlib
from pathlib import Path

from bench.udp_relay import Impairment, UdpRelay
from router.console.serial_port import SerialPort
from router.deploy.script import crc_of
from router.deploy.tftp.server import TftpServer
from router.deploy.uboot import UBoot

SIZE = 500_000


def main(device: str, host: str, board: str, cases: str) -> None:
    out = []
    with tempfile.TemporaryDirectory() as folder, SerialPort(device, 115200) as line:
        file = Path(folder) / "file"
        uboot = UBoot(line, "=> ")
        if not uboot.at_prompt(5):
            uboot.catch(120)
        for setting in (f"ipaddr {board}", f"serverip {host}", "netretry no", "tftptimeout 1000"):
            uboot.check(f"setenv {setting}")
        with TftpServer({"file": file}, address="127.0.0.1", port=0) as server:
            for window, impairment, soon in json.loads(cases):
                uboot.check(f"setenv tftpwindowsize {window}")
                runs: list[dict[str, object]] = []
                seconds = math.inf
                while seconds > soon and len(runs) < 3:
                    file.write_bytes(os.urandom(SIZE))
                    started = time.monotonic()
                    with UdpRelay(("127.0.0.1", server.port), Impairment(**impairment), host, 69) as relay:
                        reply = uboot.run("tftpboot 0x42000000 file", 120)
                    seconds = time.monotonic() - started
                    crc = crc_of(uboot.check(f"crc32 0x42000000 {SIZE:#x}", 60))
                    whole = crc == zlib.crc32(file.read_bytes())
                    runs.append({"status": reply.status, "whole": whole, "seconds": seconds, "lost": relay.lost})
                out.append(runs)
    print(json.dumps(out))


main(*sys.argv[1:])
