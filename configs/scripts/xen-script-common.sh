# shellcheck shell=bash
# Sourced: how our scripts read their command lines, which mix VAR=VALUE words with one command.
#
#   findCommand "$@"      sets $command to the first word without '='
#   evalVariables "$@"    sets the variable of each VAR=VALUE word; the value is taken as it is, never run

set -e

findCommand() {
    local word
    command=
    for word in "$@"; do
        case $word in
        *=*) ;;
        *)
            # The caller's.
            # shellcheck disable=SC2034
            command=$word
            return 0
            ;;
        esac
    done
}

evalVariables() {
    local word name
    for word in "$@"; do
        case $word in
        [A-Za-z_]*=*)
            name=${word%%=*}
            case $name in
            *[!A-Za-z0-9_]*) ;;
            *) printf -v "$name" '%s' "${word#*=}" ;;
            esac
            ;;
        esac
    done
}
