# shellcheck shell=sh
# Owns one server and its directory, and outlives the test that started it.
#
# Orders come on stdin, one per line; every order but "+" is answered by one line on stdout. When stdin ends,
# because the test is done with the server or because the test was killed, the server is ended and the
# directory removed.
#
#   $1  name of the directory, below /tmp: TMPDIR may be too long for a socket's path, or closed to the server's user
#   $2  the signal that ends the server for good
#
#   +WORD   appends WORD to the command       own USER  gives the directory to USER and runs commands as USER
#   run     runs the command, answers its exit status
#   start   starts the command, answers its process id
#   signal NAME   sends NAME to the server and to its children
#   reap    waits for the server's end
#
# Process ids are safe to signal: an ended process keeps its id until its parent has waited for it, and the
# server's parent is this shell.
set -u
# A process group with a stopped member gets SIGHUP when its last parent dies; we have cleaning up to do then.
trap '' HUP
umask 077
last=$2
dir=$(mktemp -d "/tmp/$1.XXXXXX") || exit 1
cd "$dir" || exit 1
exec 2>>log
echo "$dir"

as=
pid=

children() {
    grep -lsE "^[0-9]+ \(.*\) [A-Za-z] $pid " /proc/[0-9]*/stat | cut -d/ -f3
}
runs() {
    read -r _ _ state _ 2>/dev/null <"/proc/$1/stat" && [ "$state" != Z ]
}
# One by one: the processes of Postgres are not in one group.
signal() {
    [ -n "$pid" ] || return
    # So that it neither starts further children while we look, nor waits for those that end.
    kill -s STOP "$pid"
    for child in $(children); do
        kill -s "$1" "$child"
        [ "$1" != KILL ] || while runs "$child"; do sleep 0.01; done
    done
    kill -s "$1" "$pid"
    [ "$1" = STOP ] || kill -s CONT "$pid"
}

set --
while IFS= read -r order; do
    case $order in
    +*) set -- "$@" "${order#+}" ;;
    "own "*)
        user=${order#own }
        as="setpriv --reuid=$user --regid=$(id -g "$user") --init-groups"
        chown "$user:" . && echo ok || echo failed
        ;;
    # setpriv becomes the command, so its process id is the server's; runuser would stay in between.
    run) $as "$@" </dev/null >>log; echo "$?"; set -- ;;
    start) $as "$@" </dev/null >>log & pid=$!; echo "$pid"; set -- ;;
    "signal "*) signal "${order#signal }"; echo ok ;;
    reap) [ -z "$pid" ] || wait "$pid"; pid=; echo ok ;;
    *) echo "unknown order: $order" ;;
    esac
done

signal CONT
signal "$last"
[ -z "$pid" ] || wait "$pid"
# A killed Postgres leaves a System V segment; its id is the second word of this line.
if [ -e data/postmaster.pid ]; then
    segment=$(sed -n 7p data/postmaster.pid | tr -s ' ' | cut -d' ' -f3)
    [ -z "$segment" ] || ipcrm -m "$segment"
fi
cd / && rm -rf "$dir"
