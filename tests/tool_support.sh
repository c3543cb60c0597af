# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034
# What the tests of the program clquant share; read by test_tool.sh and test_tool_failures.sh.
set -u
LC_ALL=C
export LC_ALL
unset CLQ_DEVICE CLQ_CPU CLQ_NUM_THREADS POSIXLY_CORRECT
builddir=${CLQ_BUILDDIR:-.}
clquant=$builddir/clquant
small=$builddir/tests/clquant_small # the same program, 64 elements in memory at a time, allocations that can be made to fail
make=$builddir/tests/make_files
value=$builddir/tests/json_value
work=$(mktemp -d "${TMPDIR:-/tmp}/clquant-tool.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
checks=0
failed=0

complain()
{
    echo "FAIL: $*"
    failed=$((failed + 1))
}

# expect STATUS LINES COMMAND...: the exit status, and the number of lines on stderr. The output stays in $work/out and $work/err.
expect()
{
    wanted=$1 lines=$2
    shift 2
    checks=$((checks + 1))
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [ $status = "$wanted" ] || {
        complain "exit status $status, not $wanted: $*"
        sed 's/^/    /' "$work/err"
    }
    [ "$(wc -l <"$work/err")" -eq "$lines" ] || {
        complain "not $lines lines on stderr: $*"
        sed 's/^/    /' "$work/err"
    }
}

# says FILE TEXT: one of the two outputs has a line with this fixed text.
says()
{
    grep -qF -- "$2" "$work/$1" || {
        complain "$1 lacks '$2'; it is:"
        sed 's/^/    /' "$work/$1"
    }
}

# is KEY VALUE: what the JSON document in $work/out has there.
is()
{
    found=$("$value" "$work/out" "$1" 2>&1)
    [ "$found" = "$2" ] || complain "$1 is '$found', not '$2'"
}

same()
{
    cmp -s "$1" "$2" || complain "$1 and $2 differ"
}

absent()
{
    [ ! -e "$1" ] || complain "$1 is there"
}

# no_leftovers FOLDER: no temporary file in it.
no_leftovers()
{
    for leftover in "$1"/.*.tmp; do
        absent "$leftover"
    done
}

# tensor DTYPE EXTENTS BEGIN END: a tensor's entry in a .safetensors header.
tensor()
{
    printf '{"dtype":"%s","shape":[%s],"data_offsets":[%s,%s]}' "$1" "$2" "$3" "$4"
}

# A .safetensors of any header: raw_safetensors FILE HEADER DATA-BYTES
raw_safetensors()
{
    length=${#2}
    {
        # shellcheck disable=SC2059 # the format is made of octal escapes
        printf "\\$(printf %03o $((length % 256)))\\$(printf %03o $((length / 256)))\\000\\000\\000\\000\\000\\000"
        printf %s "$2"
        head -c "$3" /dev/zero
    } >"$1"
}

finish()
{
    echo "$checks runs of the program, $failed failures"
    [ $failed = 0 ]
}
