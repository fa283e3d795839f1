# SPDX-License-Identifier: BSD-2-Clause
# wait_exported.sh BUSID: waits until the daemon that usbip_peer.py started exports the device.
tries=200
until grep -q "exported $1" /tmp/serve.log; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: $1 is not exported"; exit 1; }
    usleep 100000
done
