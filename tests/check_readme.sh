#!/bin/sh
# SPDX-License-Identifier: MIT
# README.md shows examples/quickstart.c as it is (without the licence line), then pieces of other examples, and names only commands and options
# that exist.
set -u
srcdir=${CLQ_SRCDIR:-.}
builddir=${CLQ_BUILDDIR:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Its blocks of C, each to a file of its own.
awk -v folder="$work" '/^```c$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside { print >(folder "/shown" n) }' "$srcdir/README.md"
grep -v SPDX-License-Identifier "$srcdir/examples/quickstart.c" >"$work/real"
diff "$work/shown1" "$work/real" || {
    echo "FAIL: README.md does not show examples/quickstart.c"
    failed=1
}
for piece in "$work"/shown[2-9]*; do
    [ -e "$piece" ] || continue
    awk 'NR == FNR { piece = piece $0 "\n"; next } { file = file $0 "\n" } END { exit index(file, "\n" piece) == 0 }' \
        "$piece" "$srcdir"/examples/*.c || {
        echo "FAIL: README.md shows what no example has:"
        cat "$piece"
        failed=1
    }
done

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
