# SPDX-License-Identifier: BSD-2-Clause
# routed_name.sh FOLDER PATTERN SECONDS: prints the names in a folder of sysfs that came over USB/IP, once there is one.
tries=$(($3 * 5))
until ls -l "$1" | sed -n "s/.*vhci_hcd.*\\/\\($2\\)\$/\\1/p" | grep .; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: nothing appeared in $1"; exit 1; }
    sleep 0.2
done
