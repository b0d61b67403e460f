# shellcheck shell=bash
# Sourced: one function that says things where an administrator looks for them.
#
#   log LEVEL WORD...     to syslog (facility daemon) where there is one, and to standard error, which
#                         xen-hotplug-common.sh has led to xen-hotplug.log

log() {
    local level=$1
    shift
    logger -p "daemon.$level" -t "${0##*/}" -- "$*" 2>/dev/null || true
    printf '%s %s: %s: %s\n' "$(date '+%F %T')" "${0##*/}" "$level" "$*" >&2
}
