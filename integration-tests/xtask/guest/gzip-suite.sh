#!/bin/bash
# gzip's own test-suite against the installed gzip: `run [TEST...]` in the directory above `tests`.
# The environment is that of TESTS_ENVIRONMENT in tests/Makefile.am; list-big is left out, which packs 4 GiB.
cd "$(dirname "$0")/tests" || exit
export LC_ALL=C SHELL=/bin/bash GREP=grep srcdir=. top_srcdir=.. abs_srcdir=$PWD TMPDIR=$PWD abs_top_builddir=/usr
VERSION=$(gzip --version | sed -n '1s/gzip //p')
export VERSION built_programs='gunzip gzexe gzip zcat zcmp zdiff zegrep zfgrep zforce zgrep zmore znew'
tests=${*:-$(sed -n '/^TESTS =/,/[^\\]$/p' Makefile.am | sed 's/TESTS =//; s/\\//; s/list-big//')}
passed=0 failed='' skipped=''
for test in $tests; do
    bash "./$test" 9>&2 > "$test.log" 2>&1
    case $? in
    0) passed=$((passed + 1)) ;;
    77) skipped="$skipped $test" ;;
    *) failed="$failed $test" ;;
    esac
done
echo "gzip-suite: $passed passed, skipped:$skipped, failed:$failed."
[ -z "$failed" ]
