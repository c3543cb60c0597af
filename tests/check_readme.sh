#!/bin/sh
# SPDX-License-Identifier: MIT
# README.md shows examples/quickstart.c as it is (without the licence line), and names only commands and options that exist.
set -u
srcdir=${CLQ_SRCDIR:-.}
builddir=${CLQ_BUILDDIR:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# shellcheck disable=SC2016
sed -n '/^```c$/,/^```$/{/^```/d;p;}' "$srcdir/README.md" >"$work/shown"
grep -v SPDX-License-Identifier "$srcdir/examples/quickstart.c" >"$work/real"
diff "$work/shown" "$work/real" || {
    echo "FAIL: README.md does not show examples/quickstart.c"
    failed=1
}

# shellcheck disable=SC2016
sed -n '/^```sh$/,/^```$/s/^\(clquant [a-z].*\)/\1/p' "$srcdir/README.md" | sed 's/#.*//' >"$work/commands"
if [ -x "$builddir/clquant" ]; then
    while read -r program command arguments; do
        "$builddir/$program" "$command" --help >"$work/help" || echo "no command $command"
        echo "$arguments" | grep -oE -e '--[a-z-]+' | while read -r option; do
            grep -qF -e "$option" "$work/help" || echo "$command has no option $option"
        done
    done <"$work/commands" >"$work/unknown"
    if grep . "$work/unknown"; then
        echo "FAIL: README.md names what clquant does not have"
        failed=1
    fi
fi
exit $failed
