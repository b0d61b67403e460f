# shellcheck shell=bash
# Sourced by every script that xend runs for a device.
#
#   in     XENBUS_PATH   the device's back-end directory in the store (backend/vif/3/0 is taken from
#                        domain 0's home by the store itself)
#   out    XENBUS_PATH/hotplug-status   connected | error | busy; with error: hotplug-error, a sentence
#
#   fatal WORD...            writes hotplug-error and hotplug-status=error, ends the script with status 1
#   success                  writes hotplug-status=connected
#   do_or_die CMD...         runs CMD; fatal if it fails
#   do_without_error CMD...  runs CMD; a failure is worth a line in the log
#   xenstore_read PATH...    the values, one a line; fatal if one is missing
#   xenstore_read_default PATH DEFAULT
#   xenstore_write PATH VALUE ...
#   call_hooks KIND WHEN     sources KIND-WHEN.d/*.hook beside the scripts
#
# A command that fails unexpectedly is fatal, too.

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

# A store of its own, as tests have it.
if [ -n "${NOXEN_ROOT:-}" ]; then
    export XENSTORED_PATH=${XENSTORED_PATH:-${NOXEN_ROOT%/}/var/run/xenstored/socket}
fi

_hotplug_log=${NOXEN_ROOT%/}/var/log/xen/xen-hotplug.log
if mkdir -p "${_hotplug_log%/*}" 2>/dev/null && : 2>/dev/null >>"$_hotplug_log"; then
    exec 2>>"$_hotplug_log"
fi

fatal() {
    trap - ERR
    log err "$*"
    xenstore-write "$XENBUS_PATH/hotplug-error" "$*" "$XENBUS_PATH/hotplug-status" error || true
    exit 1
}

success() {
    xenstore_write "$XENBUS_PATH/hotplug-status" connected
}

do_or_die() {
    "$@" || fatal "$* failed"
}

do_without_error() {
    "$@" 2>/dev/null || log debug "$* failed"
}

sigerr() {
    # A `fatal` in a subshell has said it better.
    [ "$(xenstore-read "$XENBUS_PATH/hotplug-status" 2>/dev/null)" != error ] || exit 1
    fatal "$0 failed; error detected."
}

set -E
trap sigerr ERR

xenstore_read() {
    local value
    value=$(xenstore-read "$@") || fatal "xenstore-read $* failed."
    printf '%s\n' "$value"
}

xenstore_read_default() {
    xenstore-read "$1" 2>/dev/null || printf '%s\n' "$2"
}

xenstore_write() {
    log debug "Writing $* to xenstore."
    xenstore-write "$@" || fatal "Writing $* to xenstore failed."
}

call_hooks() {
    local hook
    for hook in "$dir/$1-$2.d"/*.hook; do
        if [ -x "$hook" ]; then
            # shellcheck disable=SC1090
            . "$hook"
        fi
    done
}

log debug "$* XENBUS_PATH=$XENBUS_PATH"
