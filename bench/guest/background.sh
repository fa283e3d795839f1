# SPDX-License-Identifier: BSD-2-Clause
# background.sh NAME COMMAND: starts a command and waits until it prints "ready" or ends.
# Its output goes to NAME.out, its exit code to NAME.code.
(
    (eval "$2") >"$1.out" 2>&1
    echo $? >"$1.code"
) </dev/null >/dev/null 2>&1 &
tries=400
until grep -q ready "$1.out" 2>/dev/null || [ -e "$1.code" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: the program is not ready"; exit 1; }
    sleep 0.2
done
