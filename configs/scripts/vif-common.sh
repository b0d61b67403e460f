# shellcheck shell=bash
# Sourced by the vif scripts: what all of them do before and after their own part.
#
#   SCRIPT online|offline [type_if=vif] [VAR=VALUE...]     a PV interface: $vif, at $XENBUS_PATH
#   SCRIPT add|remove type_if=tap [VAR=VALUE...]           an emulated one: $INTERFACE (vifD.N-emu)
#
# The other command of each kind ends at once with status 0: the kernel's events of the same
# interface carry both. A variable of the environment gives way to a word VAR=VALUE, and that to a
# node of the device's directory.
#
# After this file: $command, $dev (the interface, by its final name), $ip, $type_if, $XENBUS_PATH.

dir=$(dirname "$0")
# shellcheck source=configs/scripts/xen-hotplug-common.sh
. "$dir/xen-hotplug-common.sh"
# shellcheck source=configs/scripts/vif-antispoof.sh
. "$dir/vif-antispoof.sh"

findCommand "$@"
evalVariables "$@"
type_if=${type_if:-vif}

case $type_if in
vif) dev=${vif:-} ;;
tap) dev=${INTERFACE:-} ;;
*)
    log err "unknown interface type $type_if"
    exit 1
    ;;
esac

case $type_if-$command in
vif-online | vif-offline | tap-add | tap-remove) ;;
vif-add | vif-remove | tap-online | tap-offline) exit 0 ;;
*)
    log err "Invalid command: $command"
    exit 1
    ;;
esac

if [ "$type_if" = tap ]; then
    : "${dev:?INTERFACE is not set}"
    # vifD.N-emu
    _emulated=${dev#vif}
    _emulated=${_emulated%-emu}
    XENBUS_PATH=${XENBUS_PATH:-/local/domain/0/backend/vif/${_emulated%.*}/${_emulated#*.}}
fi
XENBUS_PATH=${XENBUS_PATH:?is not set}
: "${dev:?vif is not set}"

# going_up: whether the interface is being set up (and not taken down).
going_up() {
    [ "$command" = online ] || [ "$command" = add ]
}

# interface_exists NAME
interface_exists() {
    [ -e "/sys/class/net/$1" ]
}

# Interfaces are renamed before anything refers to them; on the way down only the new name is left.
vifname=$(xenstore_read_default "$XENBUS_PATH/vifname" "")
if [ -n "$vifname" ]; then
    [ "$type_if" = vif ] || vifname=$vifname-emu
    if going_up && [ "$dev" != "$vifname" ]; then
        if interface_exists "$vifname"; then
            fatal "Cannot rename interface $dev. An interface with name $vifname already exists."
        fi
        do_or_die ip link set dev "$dev" down
        do_or_die ip link set dev "$dev" name "$vifname"
    fi
    dev=$vifname
fi

ip=$(xenstore_read_default "$XENBUS_PATH/ip" "${ip:-}")

# ip_of NAME: its first IPv4 address, or nothing.
ip_of() {
    ip -4 -o addr show primary dev "$1" 2>/dev/null | awk '$3 == "inet" { sub("/.*", "", $4); print $4; exit }'
}

# dom0_ip: the address of $netdev (eth0), through which domains are routed.
dom0_ip() {
    local address
    address=$(ip_of "${netdev:-eth0}")
    if [ -z "$address" ]; then
        fatal "${netdev:-eth0} is not up.  Bring it up or specify another interface with netdev=<if> as a parameter to $0."
    fi
    printf '%s\n' "$address"
}

# set_mtu FROM: gives $dev the MTU of the node `mtu`, else that of the interface FROM, and tells the guest.
set_mtu() {
    local mtu home
    mtu=$(xenstore_read_default "$XENBUS_PATH/mtu" "")
    if [ -z "$mtu" ] && [ -r "/sys/class/net/$1/mtu" ]; then
        read -r mtu <"/sys/class/net/$1/mtu"
    fi
    case $mtu in
    "" | *[!0-9]*) return 0 ;;
    esac
    do_without_error ip link set dev "$dev" mtu "$mtu"
    if [ "$type_if" = vif ]; then
        home=$(xenstore_read_default "$XENBUS_PATH/frontend" "")
        [ -z "$home" ] || xenstore_write "$home/mtu" "$mtu"
    fi
}

# finish SCRIPT-SPECIFIC WORDS...: the common end.
finish() {
    call_hooks vif post
    log debug "Successful ${0##*/} $command for $dev${*:+, $*}."
    if [ "$type_if" = vif ] && [ "$command" = online ]; then
        success
    fi
}
