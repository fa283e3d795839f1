"""Measures the engines against Debian's C usbipd in one guest: `python tests/usbip/measure.py`.

A USB disk of 64 MiB on QEMU's xHCI, server and client in the same guest over loopback; as fast as the emulator goes,
and throttled to what a USB 2 stick does. Seconds are dd's, the better of two runs; the medium is in the page cache.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from lab import Lab

BYTES = 64 << 20
PARTS = {
    "read 1 MiB": "if=/dev/sda of=/dev/null bs=1M",
    "read 4 KiB x 400": "if=/dev/sda of=/dev/null bs=4k count=400",
    "write 1 MiB x 24": "if=/dev/zero of=/dev/sda bs=1M seek=32 count=24 oflag=direct",
}


def seconds(lab: Lab, words: str) -> float:
    if "oflag" not in words:
        words += " iflag=direct"
    text = lab.run(f"(time dd {words}) 2>&1", 120)
    found = re.search(r"real\s+(\d+)m ([\d.]+)s", text)
    assert found, text
    return int(found[1]) * 60 + float(found[2])


def measure(lab: Lab) -> dict[str, float]:
    """Attaches the disk, moves data, detaches it."""
    began = time.monotonic()
    lab.run("usbip attach -r 127.0.0.1 -b 2-1")
    row = {"attach": time.monotonic() - began}
    lab.wait_for("ls -l /sys/block | grep -q vhci_hcd.*sda && [ -e /sys/block/sda/device/max_sectors ]")
    row |= {name: min(seconds(lab, words) for _ in range(2)) for name, words in PARTS.items()}
    lab.run("usbip detach -p 15; sleep 1")
    return row


def served_by(lab: Lab, server: str) -> dict[str, float]:
    if server == "C usbipd":
        lab.run("usbip bind -b 2-1")
        lab.start("exec usbipd -4", "/tmp/usbipd.log")
        time.sleep(1)
        row = measure(lab)
        lab.stop_all()
        lab.run("usbip unbind -b 2-1; sleep 1")
        return row
    began = time.monotonic()
    process = lab.start(
        f"exec router-usbip serve --engine {server} --policy /tmp/policy --listen 127.0.0.1 --release", "/tmp/serve.log"
    )
    lab.wait_for("grep -q listening /tmp/serve.log")
    listening = time.monotonic() - began
    lab.wait_for("grep -q 'exported 2-1' /tmp/serve.log")
    row = {"listening": listening} | measure(lab)
    row["memory MB"] = int(lab.run(f"sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{process}/status")) / 1000
    lab.stop_all()
    return row


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "disk.img").write_bytes(bytes(BYTES))
        lab = Lab(
            folder,
            [
                *("-drive", f"if=none,id=disk,file={folder / 'disk.img'},format=raw"),
                *("-device", "usb-storage,bus=xhci.0,port=1,drive=disk,id=stick"),
            ],
        )
        try:
            lab.run("echo 'allow any all' >/tmp/policy")
            for title, rate in (("unthrottled", 0), ("medium of 40 MB/s", 40_000_000)):
                limits = {"iops": 0, "iops_rd": 0, "iops_wr": 0, "bps_rd": 0, "bps_wr": 0}
                lab.qmp("block_set_io_throttle", device="disk", bps=rate, **limits)
                print(title)
                for server in ("C usbipd", "kernel", "usbfs"):
                    row = served_by(lab, server)
                    print(f"  {server:<10}" + "  ".join(f"{key} {value:.2f}" for key, value in row.items()), flush=True)
        finally:
            lab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
