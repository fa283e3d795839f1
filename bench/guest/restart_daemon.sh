# SPDX-License-Identifier: BSD-2-Clause
# restart_daemon.sh ENGINE: starts the server's USB/IP daemon again with that engine, and waits until it listens.
daemon() { ps | sed -n 's/^ *\([0-9]*\).*[u]sbip.py serve.*/\1/p'; }
{
    echo '. /usr/lib/router/lib'
    echo "run_usbip serve --engine $1 --release --policy /etc/router/usb-policy --listen \"\$IP\""
} >/tmp/role
mv /tmp/role /usr/lib/router/role-server
old=$(daemon)
kill $old
tries=600
# 0CA8 is port 3240, state 0A is listening (proc(5), /proc/net/tcp).
until new=$(daemon) && [ -n "$new" ] && [ "$new" != "$old" ] && grep -q ':0CA8 00000000:0000 0A' /proc/net/tcp; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: the daemon does not listen"; exit 1; }
    sleep 0.2
done
