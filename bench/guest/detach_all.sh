# SPDX-License-Identifier: BSD-2-Clause
# detach_all.sh: detaches all devices with Debian's C tool.
for port in $(usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p'); do
    usbip detach -p "$port"
done
sleep 1
