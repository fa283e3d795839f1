# SPDX-License-Identifier: BSD-2-Clause
# rebind_usbtest.sh ALTERNATE: binds usbtest again, with that alternate setting.
echo "$1" >/sys/module/usbtest/parameters/alt
cd /sys/bus/usb/drivers/usbtest || exit 1
for interface in *:1.0; do
    echo "$interface" >unbind
    echo "$interface" >bind
done
