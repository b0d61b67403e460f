# shellcheck shell=bash
# Sourced by vif-nat and network-nat: entries in the configuration of ISC dhcpd, which is restarted.
#
#   DHCPD_CONF       the file (default: the first of /etc/dhcp/dhcpd.conf, /etc/dhcpd.conf that exists)
#   DHCPD_RESTART    the command (default: systemctl try-restart isc-dhcp-server, else its init script)
#
# Each entry is one line that ends in a comment of ours, by which it is found again.

# dhcp_default: dhcp=yes where the host serves DHCP by the old file.
dhcp_default() {
    if [ -f /etc/dhcpd.conf ]; then echo yes; else echo no; fi
}

dhcp_conf() {
    local file
    for file in "${DHCPD_CONF:-}" /etc/dhcp/dhcpd.conf /etc/dhcpd.conf; do
        if [ -n "$file" ] && [ -f "$file" ]; then
            printf '%s\n' "$file"
            return 0
        fi
    done
    fatal "dhcp=yes, but there is no dhcpd.conf in /etc/dhcp or /etc"
}

dhcp_restart() {
    if [ -n "${DHCPD_RESTART:-}" ]; then
        # A command line, so it is to be split.
        # shellcheck disable=SC2086
        do_without_error $DHCPD_RESTART
    elif [ -d /run/systemd/system ]; then
        do_without_error systemctl try-restart isc-dhcp-server
    else
        do_without_error /etc/init.d/isc-dhcp-server restart
    fi
}

# dhcp_replace TAG [LINE]: the line of that tag is now LINE, or gone. The file is replaced whole.
dhcp_replace() {
    local tag="# xen: $1" line=${2:-} file new
    file=$(dhcp_conf)
    claim_lock vif-nat-dhcp
    new=$(mktemp "$file.XXXXXX")
    grep -vF -- "$tag;" "$file" >"$new" || true
    [ -z "$line" ] || printf '%s %s;\n' "$line" "$tag" >>"$new"
    chmod --reference="$file" "$new"
    mv "$new" "$file"
    release_lock vif-nat-dhcp
    dhcp_restart
}

# dhcp_add_host NAME MAC ADDRESS ROUTER
dhcp_add_host() {
    dhcp_replace "host $1" \
        "host $1 { hardware ethernet $2; fixed-address $3; option routers $4; option host-name \"$1\"; }"
}

dhcp_remove_host() {
    dhcp_replace "host $1"
}

# dhcp_add_subnet SUBNET NETMASK
dhcp_add_subnet() {
    local servers domain line
    servers=$(awk '$1 == "nameserver" && $2 !~ /:/ { printf "%s%s", sep, $2; sep = ", " }' /etc/resolv.conf)
    domain=$(awk '$1 == "search" || $1 == "domain" { print $2; exit }' /etc/resolv.conf)
    line="subnet $1 netmask $2 {"
    [ -z "$servers" ] || line="$line option domain-name-servers $servers;"
    [ -z "$domain" ] || line="$line option domain-name \"$domain\";"
    dhcp_replace "subnet $1" "$line }"
}

dhcp_remove_subnet() {
    dhcp_replace "subnet $1"
}
