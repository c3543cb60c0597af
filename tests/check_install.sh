#!/bin/sh
# SPDX-License-Identifier: MIT
# For make installcheck: programs outside the tree find the installed library by pkg-config as README.md says, link it shared and static, and
# run. What is installed for OpenCL is there if and only if the library was built with it.
set -eu
: "${CLQ_SRCDIR:?}" "${CLQ_CC:?}" "${CLQ_LIBDIR:?}" "${PKG_CONFIG_PATH:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
pkg_config=${PKG_CONFIG:-pkg-config}
examples=$CLQ_SRCDIR/examples

fail()
{
    echo "FAIL: $*"
    exit 1
}

opencl=no
case " $($pkg_config --static --libs clquant) " in
*OpenCL*) opencl=yes ;;
esac
case " $($pkg_config --libs clquant) " in
*OpenCL*) fail "programs that link the shared library are told to link OpenCL" ;;
esac

static=
[ -e "$CLQ_LIBDIR/libclquant.so" ] || static=--static

# shellcheck disable=SC2046,SC2086 # lists of words
{
    $CLQ_CC "$examples/quickstart.c" -o shared $($pkg_config $static --cflags --libs clquant)
    LD_LIBRARY_PATH=$CLQ_LIBDIR ./shared
    if [ -e "$CLQ_LIBDIR/libclquant.a" ]; then
        $CLQ_CC "$examples/quickstart.c" -o inside $($pkg_config --cflags clquant) \
            $($pkg_config --static --libs clquant | sed 's/-lclquant/-l:libclquant.a/')
        ./inside
    fi
    if [ -e "$CLQ_LIBDIR/libclquant.a" ] && [ $opencl = no ]; then
        $CLQ_CC "$examples/quickstart.c" -o static $($pkg_config --cflags clquant) -static $($pkg_config --static --libs clquant)
        ./static
    fi
    if [ $opencl = yes ]; then
        $CLQ_CC "$examples/opencl_program.c" -o opencl $($pkg_config $static --cflags --libs clquant) -lOpenCL
        status=0
        LD_LIBRARY_PATH=$CLQ_LIBDIR ./opencl || status=$?
        [ $status = 0 ] || [ $status = 77 ] || fail "opencl_program: exit status $status"
    else
        echo '#include <clquant_opencl.h>' >header.c
        ! $CLQ_CC -c header.c $($pkg_config --cflags clquant) 2>/dev/null || fail "clquant_opencl.h is there, but the library has no OpenCL"
    fi
}
