# SPDX-License-Identifier: BSD-2-Clause
# all_detached.sh: waits until no device is attached in the client.
tries=240
while ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-*/idVendor >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: a device is still attached"; exit 1; }
    sleep 0.2
done
