#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A report about one OpenCL device: the unit tests on it, and how fast it is. Markdown, for docs/ or a message.
#
#   tests/gpu-report.sh [--build FOLDER] [--device N] [--out FOLDER] [--part NAME] [--sizes "24 26 28"] [--products 42] [--list]
#
#   --build   a configured build folder, built if need be; else the current one
#   --device  as `clquant devices` counts: opencl:N; else 0
#   --out     where the parts are kept; else gpu-report-N in the build folder. A part that is there is not made again: to go on after a break, or in
#             several sessions, give the same command again. Remove the folder to begin anew
#   --part    this part alone, and no report
#   --sizes   2^N elements, a part for each
#   --products  matrix products of at most 2^N multiplications
#
# Each part takes 8 minutes at most. The parts' names are those that --list prints; report.md is put together at the end from what is there.
# Fails if a part failed; what it printed stays in NAME.failed.
set -u
src=$(cd "$(dirname "$0")/.." && pwd)
build=. device=0 out="" only="" sizes="24 26 28" products=42 list=""
usage()
{
    sed -n '/^#   tests/,/^# Fails/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --list)
        list=yes
        shift
        continue
        ;;
    --build | --device | --out | --part | --sizes | --products) [ $# -ge 2 ] || usage ;;
    *) usage ;;
    esac
    case $1 in
    --build) build=$2 ;;
    --device) device=${2#opencl:} ;;
    --out) out=$2 ;;
    --part) only=$2 ;;
    --sizes) sizes=$2 ;;
    --products) products=$2 ;;
    esac
    shift 2
done
unit_tests="opencl_convert opencl_qparams opencl_quantize opencl_error_stats opencl_gemm test_opencl_gemm"
gemm_units="nvidia-mma intel-dpas intel-dpas8 amd-mfma amd-mfma16 amd-wmma nvidia-dp4a khr-dot amd-sudot4 amd-sdot4 arm-dot arm-matrix portable"
parts="environment"
for name in $unit_tests; do parts="$parts test-$name"; done
for size in $sizes; do parts="$parts bandwidth-$size"; done
parts="$parts staging latency batch start gemm-check"
for name in $gemm_units; do parts="$parts gemm-$name"; done
parts="$parts gemm-f32 gemm-host gemm-cublas"
[ -z "$list" ] || {
    printf '%s\n' $parts
    exit 0
}
if [ -n "$only" ] && [[ " $parts " != *" $only "* ]]; then
    echo "gpu-report: no part $only; there are: $parts" >&2
    exit 2
fi
grep -qs '^#define CLQ_WITH_OPENCL 1' "$build/config.h" || {
    echo "gpu-report: $build is no build folder with OpenCL: run ./setup build, then give --build build" >&2
    exit 1
}
build=$(cd "$build" && pwd)
out=${out:-$build/gpu-report-$device}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
# What one part compiles, the next loads; part start has caches of its own.
export CLQ_CACHE_DIR=${CLQ_CACHE_DIR:-$out/cache}
unset CLQ_DEVICE CLQ_CPU CLQ_NUM_THREADS OMP_NUM_THREADS

made=
need_programs()
{
    [ -z "$made" ] || return 0
    made=yes
    make -C "$build" -j"$(nproc)" tests/gpu_bandwidth tests/gpu_gemm >"$out/make.log" 2>&1
}

bench()
{
    need_programs || return
    "$build/tests/gpu_bandwidth" "$@"
}

gemm()
{
    need_programs || return
    "$build/tests/gpu_gemm" "$@"
}

# A unit before and after it is tuned: its notes have a cache of their own, which is empty.
gemm_unit()
{
    CLQ_CACHE_DIR=$scratch/gemm-$1 gemm unit "$device" "$1" "$products"
}

# The best unit, tuned, beside NVIDIA's own library. Skipped where there is none.
cublas()
{
    local status=0
    echo "## Matrix products by clquant and by cuBLASLt"
    echo
    command -v python3 >/dev/null || {
        echo "Skipped: there is no python3."
        return 0
    }
    if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        gemm tune "$device" || return
        echo
    fi
    python3 "$src/tests/gpu_int_mm.py" "$build/tests/gpu_gemm" "$device" "$products" || status=$?
    [ $status = 77 ] || return $status
}

# A unit test of the library, in its short form, on the device.
unit_test()
{
    local status=0 seconds=$SECONDS
    make -C "$build" -j"$(nproc)" "tests/$1" >"$out/make.log" 2>&1 || {
        echo "not built (Check is needed): see make.log"
        return 1
    }
    CLQ_TEST_DEVICE=$device CLQ_TEST_QUICK=1 CK_DEFAULT_TIMEOUT=420 "$build/tests/$1" >"$scratch/test.out" 2>&1 || status=$?
    echo "| $1 | $(grep -E '^[0-9]+%: Checks' "$scratch/test.out") | status $status | $((SECONDS - seconds)) s |"
    [ $status = 0 ] || tail -n 30 "$scratch/test.out"
    return $status
}

# Kernels compiled, with the caches of this library and of the drivers empty; loaded, in a new process; compiled, by a driver with a cache of its own.
start()
{
    local -a drivers=("POCL_CACHE_DIR=$scratch/driver" "CUDA_CACHE_PATH=$scratch/driver" "XDG_CACHE_HOME=$scratch/driver" "AMD_COMGR_CACHE_DIR=$scratch/driver")
    local row line
    mkdir -p "$scratch/driver"
    echo "## Start: a context, and the kernels between f32 and s8"
    echo
    echo "| kernels | context, ms | kernels, ms |"
    echo "|---|---:|---:|"
    for row in "compiled" "loaded" "compiled, by a driver that remembers"; do
        case $row in
        *remembers) rm -rf "$scratch/own" ;;
        esac
        line=$(CLQ_CACHE_DIR=$scratch/own env "${drivers[@]}" "$build/tests/gpu_bandwidth" start "$device") || return
        echo "| $row | $line |"
    done
}

run_part()
{
    case $1 in
    environment)
        bench environment "$device" || return
        echo "| system | $(uname -srm) |"
        echo "| commit | $(git -C "$src" describe --always --dirty 2>/dev/null || echo unknown) |"
        ;;
    test-*) unit_test "${1#test-}" ;;
    bandwidth-*) bench bandwidth "$device" "${1#bandwidth-}" ;;
    staging) bench staging "$device" "${sizes%% *}" ;;
    start) need_programs && start ;;
    gemm-check) gemm check "$device" ;;
    gemm-f32 | gemm-host) gemm "${1#gemm-}" "$device" "$products" ;;
    gemm-cublas) cublas ;;
    gemm-*) gemm_unit "${1#gemm-}" ;;
    *) bench "$1" "$device" ;;
    esac
}

export -f run_part bench need_programs unit_test start gemm gemm_unit cublas
failed=0
for part in ${only:-$parts}; do
    if [ -s "$out/$part.md" ]; then
        echo "gpu-report: $part is there"
        continue
    fi
    seconds=$SECONDS
    rm -f "$out/$part.failed"
    export build out device scratch src sizes products made
    timeout 480 bash -c 'run_part "$1"' run_part "$part" >"$out/$part.tmp" 2>&1
    status=$?
    if [ $status = 0 ]; then
        mv "$out/$part.tmp" "$out/$part.md"
        echo "gpu-report: $part: $((SECONDS - seconds)) s"
    else
        mv "$out/$part.tmp" "$out/$part.failed"
        failed=$((failed + 1))
        echo "gpu-report: $part: FAILED, status $status, $((SECONDS - seconds)) s: see $out/$part.failed"
    fi
done
[ -z "$only" ] || exit $((failed > 0))

{
    echo "# clquant on a device"
    for part in $parts; do
        case $part in
        test-opencl_convert)
            echo
            echo "## Unit tests, on every OpenCL device of the machine that can be used"
            echo
            echo "| test | checks | | |"
            echo "|---|---|---|---|"
            ;;
        test-*) ;;
        *) echo ;;
        esac
        if [ -s "$out/$part.md" ]; then
            cat "$out/$part.md"
        elif [ -s "$out/$part.failed" ]; then
            echo "Part $part **failed**; the end of what it said:"
            echo
            tail -n 20 "$out/$part.failed" | sed 's/^/    /'
        fi
    done
} >"$out/report.md"
echo "gpu-report: $out/report.md, $failed parts failed"
exit $((failed > 0))
