#!/bin/sh
# SPDX-License-Identifier: MIT
# The layers of src/README.md: a file includes only what lies below it. And what every source file must have or must not.
set -u
cd "${CLQ_SRCDIR:-.}" || exit 1
failed=0

complain()
{
    echo "FAIL: $*"
    failed=1
}

# may_include FILE: the project's own headers that the file may include, as an extended regular expression over their paths.
may_include()
{
    case $1 in
    include/*) echo 'include/[^/]*' ;;
    kernels/*) echo 'kernels/[^/]*' ;;
    src/base/*) echo '(include|src/base)/[^/]*' ;;
    src/cpu/*) echo '(include|src/base|kernels|src/cpu)/[^/]*|src/(backend|context)\.h' ;;
    src/opencl/*) echo '(include|src/base|kernels|src/opencl)/[^/]*|src/(backend|context)\.h' ;;
    src/io/*) echo '(include|src/base|src/io)/[^/]*|src/context\.h' ;;
    src/nn/*) echo '(include|src/base|src/nn)/[^/]*|src/context\.h' ;;
    src/tool/*) echo '(include|src/tool)/[^/]*' ;;
    src/*) echo '(include|src/base|kernels|src)/[^/]*' ;;
    examples/*) echo 'include/[^/]*' ;;
    *) echo '.*' ;;
    esac
}

# included_by FILE: the paths of the project's own headers that it includes. A name is looked up as the compiler does.
included_by()
{
    sed -nE 's/^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]*)[>"].*/\1/p' "$1" | while read -r name; do
        for folder in "$(dirname "$1")" include src kernels tests; do
            [ -e "$folder/$name" ] && echo "$folder/$name" && break
        done
    done
}

sources=$(find include kernels src examples tests -type f \( -name '*.c' -o -name '*.h' -o -name '*.cl' \) | sort)
for file in $sources; do
    for header in $(included_by "$file"); do
        echo "$header" | grep -qxE "$(may_include "$file")" || complain "$file is not to include $header"
    done
    case $file in
    src/*.c)
        [ "$(grep -m1 '^#[ ]*include' "$file")" = '#include "config.h"' ] || complain "$file: config.h is to be its first include"
        ;;
    esac
done

# One SPDX line, on top.
scripts=$(find setup tests examples -type f \( -name '*.sh' -o -name setup \))
for file in $sources $scripts configure.ac Makefile.am m4/clq_*.m4; do
    head -n 2 "$file" | grep -q 'SPDX-License-Identifier: MIT' || complain "$file: no SPDX line on top"
done

# shellcheck disable=SC2086 # a list of files
grep -nE '#[ ]*if +[01]( |$)|\<(TO''DO|FIX''ME)\>|\<XX''X\>' $sources $scripts && complain "dead code or an open end"

# What Makefile.am does not list, a distribution lacks. A program without a list of sources is made from NAME.c.
listed=$(tr -s ' \t' '\n' <Makefile.am)
for file in $sources; do
    echo "$listed" | grep -qxF -e "$file" -e "${file%.c}" || complain "$file is not listed in Makefile.am"
done
exit $failed
