# shellcheck shell=bash
# Sourced by vif-common.sh: holds a bridged interface to the addresses that its configuration names.
#
#   frame from the vif --bridge prerouting--> vmap sources { vif : jump from-VIF }
#     from-VIF:  ARP and IPv4 from an address of ip=        pass
#                DHCP requests from 0.0.0.0                 pass
#                IPv6 from an address of ip=, link-local    pass
#                the rest                                   drop
#
# An interface without ip= has no entry and may send what it likes. Where network-bridge was started with
# antispoof=yes, the bridge forwards only to and from the outside and interfaces registered here.

ANTISPOOF_TABLE=noxen

# antispoof_ready: whether the kernel and its tool can do this.
antispoof_ready() {
    nft add table bridge "$ANTISPOOF_TABLE" 2>/dev/null
}

# antispoof_base: the parts that all interfaces share; made again without harm.
antispoof_base() {
    nft -f - <<RULES
add table bridge $ANTISPOOF_TABLE
add map bridge $ANTISPOOF_TABLE sources { type ifname : verdict; }
add set bridge $ANTISPOOF_TABLE known { type ifname; }
add chain bridge $ANTISPOOF_TABLE prerouting { type filter hook prerouting priority -300; policy accept; }
flush chain bridge $ANTISPOOF_TABLE prerouting
add rule bridge $ANTISPOOF_TABLE prerouting iifname vmap @sources
RULES
}

# antispoof_lists WORD...: sorts addresses into $v4 and $v6, comma separated.
antispoof_lists() {
    local word
    v4='' v6=''
    for word in "$@"; do
        case $word in
        *:*) v6=${v6:+$v6, }$word ;;
        *) v4=${v4:+$v4, }$word ;;
        esac
    done
}

# antispoof_up DEV WORD...
antispoof_up() {
    local dev=$1 v4 v6 rules
    shift
    antispoof_lists "$@"
    antispoof_down "$dev"
    antispoof_base || return 1
    rules="add element bridge $ANTISPOOF_TABLE known { \"$dev\" }"
    if [ $# -gt 0 ]; then
        rules+="
add chain bridge $ANTISPOOF_TABLE from-$dev
add rule bridge $ANTISPOOF_TABLE from-$dev ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
add rule bridge $ANTISPOOF_TABLE from-$dev arp saddr ip 0.0.0.0 accept
add rule bridge $ANTISPOOF_TABLE from-$dev ip6 saddr { ::, fe80::/10${v6:+, $v6} } accept"
        [ -z "$v4" ] || rules+="
add rule bridge $ANTISPOOF_TABLE from-$dev ip saddr { $v4 } accept
add rule bridge $ANTISPOOF_TABLE from-$dev arp saddr ip { $v4 } accept"
        rules+="
add rule bridge $ANTISPOOF_TABLE from-$dev drop
add element bridge $ANTISPOOF_TABLE sources { \"$dev\" : jump from-$dev }"
    fi
    nft -f - <<<"$rules"
}

# antispoof_down DEV: no trace of it is left; none may have been there.
antispoof_down() {
    nft delete element bridge "$ANTISPOOF_TABLE" sources "{ \"$1\" }" 2>/dev/null || true
    nft delete element bridge "$ANTISPOOF_TABLE" known "{ \"$1\" }" 2>/dev/null || true
    nft flush chain bridge "$ANTISPOOF_TABLE" "from-$1" 2>/dev/null || true
    nft delete chain bridge "$ANTISPOOF_TABLE" "from-$1" 2>/dev/null || true
}

# handle_antispoof: for $dev, $ip and $command. Without ip= and without nft there is nothing to hold to.
handle_antispoof() {
    local words
    read -ra words <<<"${ip:-}"
    case "$dev ${ip:-}" in
    *[!A-Za-z0-9_.:/\ -]*) fatal "'$dev' or '$ip' holds a character that neither an interface nor an address has" ;;
    esac
    if ! antispoof_ready; then
        if going_up && [ ${#words[@]} -gt 0 ]; then
            fatal "nft cannot hold $dev to its addresses (ip=$ip). Install nftables, or leave ip= out."
        fi
        return 0
    fi
    claim_lock nft
    if going_up; then
        antispoof_up "$dev" "${words[@]}" ||
            fatal "nft did not take the addresses of $dev: ip=$ip"
    else
        antispoof_down "$dev"
    fi
    release_lock nft
}
