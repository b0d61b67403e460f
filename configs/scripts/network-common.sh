# shellcheck shell=bash
# Sourced by the network scripts, which xend runs once when it starts: SCRIPT [VAR=VALUE...] start|stop|status
#
#   parse "$@"         sets $command and the variables; ends the script for an unknown command
#   default_netdev     the device of the default route, else eth0
#   say WORD...        to standard output, which xend keeps in its log

dir=$(dirname "$0")
# shellcheck source=configs/scripts/logging.sh
. "$dir/logging.sh"
# shellcheck source=configs/scripts/xen-script-common.sh
. "$dir/xen-script-common.sh"
# shellcheck source=configs/scripts/locking.sh
. "$dir/locking.sh"

PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

fatal() {
    log err "$*"
    exit 1
}

say() {
    printf '%s\n' "$*"
}

do_without_error() {
    "$@" 2>/dev/null || log debug "$* failed"
}

parse() {
    evalVariables "$@"
    findCommand "$@"
    case $command in
    start | stop | status) ;;
    *)
        echo "Unknown command: $command" >&2
        echo "Valid commands are: start, stop, status" >&2
        exit 1
        ;;
    esac
}

default_netdev() {
    local name
    name=$(ip -o route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") { print $(i + 1); exit } }')
    printf '%s\n' "${name:-eth0}"
}

# must_exist NAME
must_exist() {
    [ -e "/sys/class/net/$1" ] || fatal "there is no network device $1; name one with netdev=<if>"
}
