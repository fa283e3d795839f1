# Passes the answers of a daemon on to the control channel: awk -v asked=FOLDER -f answers.awk.
# A daemon that was taken over may write anything. Only complete lines go on, `ID o BASE64` and `ID x CODE`, and only for a
# request that the agent has put to the daemon: FOLDER/D has the last one whose ID ends in the digit D, and is emptied when
# the answer begins or when the agent asks a program after all.
length($0) > 1024 || NF != 3 || $1 !~ /^[0-9]+$/ || $0 != $1 " " $2 " " $3 { next }
{
    digit = substr($1, length($1))
    if (begun[digit] != $1 "") {
        slot = asked "/" digit
        wanted = ""
        getline wanted <slot
        close(slot)
        if (wanted "" != $1 "") next
        printf "" >slot
        close(slot)
        begun[digit] = $1
    }
}
$2 == "o" && $3 ~ /^[A-Za-z0-9+\/]+=?=?$/ { print; fflush() }
$2 == "x" && $3 ~ /^[0-9]+$/ && length($3) <= 3 { delete begun[digit]; print; fflush() }
