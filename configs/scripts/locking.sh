# shellcheck shell=bash
# Sourced: locks among scripts of one host.
#
#   claim_lock NAME       waits until NAME is ours
#   release_lock NAME     gives it back; the end of the script does so, too
#
# A lock is an flock on a file that is never removed: so no one can hold a lock on a file that has lost
# its name while somebody else locks its successor.

LOCK_BASEDIR=${LOCK_BASEDIR:-${NOXEN_ROOT%/}/var/run/xen-hotplug}
declare -A _lock_fds=()

claim_lock() {
    local fd
    mkdir -p "$LOCK_BASEDIR"
    exec {fd}>>"$LOCK_BASEDIR/$1"
    flock -x "$fd"
    _lock_fds[$1]=$fd
}

release_lock() {
    local fd=${_lock_fds[$1]:-}
    [ -n "$fd" ] || return 0
    exec {fd}>&-
    unset "_lock_fds[$1]"
}
