#!/bin/sh
# SPDX-License-Identifier: MIT
# For make installcheck: a program outside the tree finds the installed library by pkg-config, links it shared and static, and runs.
set -eu
: "${CLQ_SRCDIR:?}" "${CLQ_CC:?}" "${CLQ_LIBDIR:?}" "${PKG_CONFIG_PATH:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
pkg_config=${PKG_CONFIG:-pkg-config}

# shellcheck disable=SC2046,SC2086 # lists of words
{
    $CLQ_CC "$CLQ_SRCDIR/examples/quickstart.c" -o shared $($pkg_config --cflags --libs clquant)
    LD_LIBRARY_PATH=$CLQ_LIBDIR ./shared
    if [ -e "$CLQ_LIBDIR/libclquant.a" ]; then
        $CLQ_CC "$CLQ_SRCDIR/examples/quickstart.c" -o static $($pkg_config --cflags clquant) -static $($pkg_config --static --libs clquant)
        ./static
    fi
}
