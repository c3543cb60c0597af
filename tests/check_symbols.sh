#!/bin/sh
# SPDX-License-Identifier: MIT
# The shared library exports what the public headers mark CLQ_API and nothing else, and neither prints nor exits; every global
# symbol of the static library begins with clq_. The functions of clquant_opencl.h are there if it is built with OpenCL, and only then.
set -u
srcdir=${CLQ_SRCDIR:-.}
builddir=${CLQ_BUILDDIR:-.}
nm=${CLQ_NM:-nm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Names of a library's symbols: `symbols FILE NM-OPTION...`, without what sanitizers add.
symbols()
{
    file=$1
    shift
    # shellcheck disable=SC2086
    $nm -P "$@" "$file" | awk 'NF >= 2 && $1 !~ /:$/ { sub(/@.*/, "", $1); print $1 }' |
        grep -vE '^(__odr_)?_*(asan|ubsan|tsan|sanitizer|sancov)' | sort -u
}

# Functions that headers declare: `declared HEADER...`.
declared()
{
    for header; do
        sed -nE 's/^CLQ_API .*[ *](clq_[a-z0-9_]+)\(.*/\1/p' "$srcdir/include/$header"
    done | sort -u
}

headers="clquant.h clquant_io.h"
declared clquant_opencl.h >"$work/opencl"
[ "$(wc -l <"$work/opencl")" -ge 4 ] || { echo "FAIL: only these functions of clquant_opencl.h were found:"; cat "$work/opencl"; failed=1; }
if grep -q '^#define CLQ_WITH_OPENCL 1' "$builddir/config.h"; then
    headers="$headers clquant_opencl.h"
    : >"$work/opencl"
fi
# shellcheck disable=SC2086 # a list of files
declared $headers >"$work/declared"
[ "$(wc -l <"$work/declared")" -ge 20 ] || { echo "FAIL: only these CLQ_API functions were found:"; cat "$work/declared"; failed=1; }

shared=$builddir/.libs/libclquant.so
if [ -e "$shared" ]; then
    symbols "$shared" -D --defined-only >"$work/exported"
    if ! diff "$work/declared" "$work/exported" >"$work/diff"; then
        echo "FAIL: declared (<) and exported (>) differ:"
        cat "$work/diff"
        failed=1
    fi
    symbols "$shared" -D --undefined-only |
        grep -xE '(__)?v?f?printf(_chk)?|f?puts|f?putc|putchar|perror|stdout|stderr|stdin|exit|_exit|quick_exit|abort|signal|sigaction' \
            >"$work/forbidden" && { echo "FAIL: a library does not use:"; cat "$work/forbidden"; failed=1; }
fi

static=$builddir/.libs/libclquant.a
if [ -e "$static" ]; then
    symbols "$static" -g --defined-only >"$work/global"
    grep -v '^clq_' "$work/global" >"$work/foreign" &&
        { echo "FAIL: global symbols of libclquant.a without clq_:"; cat "$work/foreign"; failed=1; }
    comm -23 "$work/declared" "$work/global" | grep . >"$work/missing" &&
        { echo "FAIL: libclquant.a lacks:"; cat "$work/missing"; failed=1; }
    comm -12 "$work/opencl" "$work/global" | grep . >"$work/surplus" &&
        { echo "FAIL: libclquant.a, built without OpenCL, has:"; cat "$work/surplus"; failed=1; }
fi
[ -e "$shared" ] || [ -e "$static" ] || { echo "FAIL: no library in $builddir/.libs"; failed=1; }
exit $failed
