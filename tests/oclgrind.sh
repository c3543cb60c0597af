#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the kernels under Oclgrind, which watches every access: races between work-items, accesses outside of buffers, wrong API calls.
#
#   tests/oclgrind.sh [BUILD [MOST]]      the build folder, where tests/oclgrind_shapes is made; else the current one. Tensors of up to MOST elements
#
# Fails when Oclgrind says anything, when the program fails and when a result differs from the CPU's. 77 without Oclgrind or in a build without OpenCL.
set -u
build=${1:-.}
if ! command -v oclgrind >/dev/null; then
    echo "oclgrind: skipped: no oclgrind"
    exit 77
fi
grep -q '^#define CLQ_WITH_OPENCL 1' "$build/config.h" || {
    echo "oclgrind: skipped: $build is built without OpenCL"
    exit 77
}
make -C "$build" tests/oclgrind_shapes >/dev/null || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
# Binaries of other drivers are of no use to it; work-groups of 16, so that small tensors have several.
CLQ_CACHE_DIR=$tmp/cache timeout 540 oclgrind --max-wgsize 16 --data-races --check-api --max-errors 20 --log "$tmp/log" \
    "$build/tests/oclgrind_shapes" ${2:+"$2"} 2>&1 | tee "$tmp/out"
status=${PIPESTATUS[0]}
[ -f "$tmp/log" ] || {
    echo "oclgrind: failed: Oclgrind wrote no log"
    exit 1
}
if [ -s "$tmp/log" ]; then
    head -n 60 "$tmp/log"
    echo "oclgrind: failed: $(grep -c '^[A-Z]' "$tmp/log") lines begin a report"
    exit 1
fi
# The status says nothing: it is 0 even after a crash. The program's last line is there or is not.
if [ "$status" != 0 ] || ! grep -q '^oclgrind_shapes: .* 0 differ' "$tmp/out"; then
    echo "oclgrind: failed: the program did not end well (status $status)"
    exit 1
fi
echo "oclgrind: nothing to report"
