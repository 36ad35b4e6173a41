# Owns one server and its directory, and outlives the test that started it.
#
# Orders come on stdin, one per line; every order but "+" is answered by one line on stdout. When stdin ends,
# because the test is done with the server or because the test was killed, the server is ended and the
# directory removed.
#
#   $1  name of the directory, below /tmp: TMPDIR may be too long for a socket's path, or closed to the server's user
#   $2  the signal that ends the server for good
#
#   +WORD   appends WORD to the command       own USER  gives the directory to USER
#   run     runs the command, answers its exit status
#   start   starts the command, answers its process id
#   signal NAME   sends NAME to the server and to whatever it has started
#   reap    waits for the server's end
#
# Process ids are safe to signal: an ended server keeps its id until this shell, its parent, has waited for it.
set -u
# A process group with a stopped member gets SIGHUP when its last parent dies; we have cleaning up to do then.
trap '' HUP
umask 077
last=$2
dir=$(mktemp -d "/tmp/$1.XXXXXX") || exit 1
cd "$dir" || exit 1
exec 2>>log
echo "$dir"

pid=
# The server first, by its own id: just after `start` it may not lead a group of its own yet.
signal() {
    [ -z "$pid" ] && return
    kill -s "$1" "$pid"
    kill -s "$1" -- "-$pid"
}

set --
while IFS= read -r order; do
    case $order in
    +*) set -- "$@" "${order#+}" ;;
    "own "*) chown "${order#own }" . && echo ok || echo failed ;;
    run) "$@" </dev/null >>log; echo "$?"; set -- ;;
    # A group of its own, so that a signal reaches what the server forks, and Ctrl-C on the terminal does not.
    start) setsid "$@" </dev/null >>log & pid=$!; echo "$pid"; set -- ;;
    "signal "*) signal "${order#signal }"; echo ok ;;
    reap) [ -z "$pid" ] || wait "$pid"; pid=; echo ok ;;
    *) echo "unknown order: $order" ;;
    esac
done

signal CONT
signal "$last"
[ -z "$pid" ] || wait "$pid"
cd / && rm -rf "$dir"
