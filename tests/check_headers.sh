#!/bin/sh
# SPDX-License-Identifier: MIT
# Each public header compiles alone, as C11 and as C++17, without a warning; and they name the version that the package has. The one
# for OpenCL needs CL/cl.h, which is there where the library is built with it, and the one for DLPack a header that programs bring.
set -u
srcdir=${CLQ_SRCDIR:-.}
builddir=${CLQ_BUILDDIR:-.}
cc=${CLQ_CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# compile LANGUAGE STANDARD FILE
compile()
{
    # shellcheck disable=SC2086 # $cc may be a command with options
    $cc -x "$1" -std="$2" -pedantic-errors -Wall -Wextra -Wshadow -Wconversion -Werror -I"$srcdir/include" -c "$3" -o "$work/out.o"
}

echo 'int main() { return 0; }' >"$work/empty.cc"
cplusplus=yes
compile c++ c++17 "$work/empty.cc" 2>/dev/null || cplusplus=no

echo '#include <CL/cl.h>' >"$work/cl.c"
opencl=yes
compile c c11 "$work/cl.c" 2>/dev/null || grep -q '^#define CLQ_WITH_OPENCL 1' "$builddir/config.h" || opencl=no

printf '#include <dlpack/dlpack.h>\nDLDevice device;\n' >"$work/dlpack.c"
dlpack=yes
compile c c11 "$work/dlpack.c" 2>/dev/null || dlpack=no

for header in "$srcdir"/include/*.h; do
    name=$(basename "$header")
    if [ "$name" = clquant_opencl.h ] && [ $opencl = no ]; then
        echo "not tried: $name, as CL/cl.h is not here"
        continue
    fi
    if [ "$name" = clquant_dlpack.h ] && [ $dlpack = no ]; then
        echo "not tried: $name, as dlpack/dlpack.h is not here"
        continue
    fi
    cat >"$work/use.c" <<END
#include <$name>
#include <$name>
const char *use(void);
const char *use(void)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context = NULL;
    return clq_status_name(clq_context_create(&options, &context));
}
END
    compile c c11 "$work/use.c" || { echo "FAIL: $name as C11"; failed=1; }
    [ $cplusplus = no ] || compile c++ c++17 "$work/use.c" || { echo "FAIL: $name as C++17"; failed=1; }
done

version=$(sed -nE 's/^#define CLQ_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+).*/\2/p' "$srcdir/include/clquant.h" | paste -s -d. -)
grep -qF "AC_INIT([clquant], [$version])" "$srcdir/configure.ac" || { echo "FAIL: configure.ac: not version $version"; failed=1; }
grep -qxF "clquant $version" "$srcdir/NEWS" || { echo "FAIL: NEWS: nothing about version $version"; failed=1; }
[ $failed = 0 ] || exit 1
[ $cplusplus = yes ] || {
    echo "SKIP: $cc compiles no C++, so the headers were tried as C11 only"
    exit 77
}
