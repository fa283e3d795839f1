# SPDX-License-Identifier: BSD-2-Clause
# stop_daemon.sh: ends the daemon that usbip_peer.py started, and waits for its end.
process=$(cat /tmp/serve.pid)
kill "$process"
while kill -0 "$process" 2>/dev/null; do usleep 50000; done
