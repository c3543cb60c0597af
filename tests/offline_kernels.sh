#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles every kernel of every program of kernels/ without a device: for NVIDIA to PTX and, where there is a ptxas, to machine code; for AMD to machine code.
#
#   tests/offline_kernels.sh [--all] [KERNELS]      the folder; else that of this tree
#
# Fails on an error, a spill and a stack frame (an array that registers cannot hold). For sm_80, sm_90, gfx1030 and gfx90a: all programs of f32, of
# f16 and bf16 those with s8, u4 and s16, error_stats and learnable with f64 where both are built; between f32 and s8 further AMD processors. --all: all dtype
# pairs, with and without f64, for all processors; three times as long. 77 without clang or libclc. The last lines are the most registers of
# each kernel, and totals. CLANG, LIBCLC, PTXAS: other tools.
set -u
all=
[ "${1:-}" != --all ] || {
    all=yes
    shift
}
kernels=${1:-$(cd "$(dirname "$0")/.." && pwd)/kernels}
clc=${LIBCLC:-/usr/lib/clc}
nvidia=(sm_80 sm_90)
amd=(gfx1030 gfx90a)
amd_more=(gfx906 gfx940 gfx1100)
clang=${CLANG:-$(command -v clang-15 || command -v clang-14)}
ptxas=${PTXAS:-$(command -v ptxas || ls /usr/local/cuda*/bin/ptxas 2>/dev/null | head -n 1)}
options=(-x cl -cl-std=CL1.2 -Xclang -finclude-default-header -O3 -w -D__OPENCL_VERSION__=120 -DCLQ_LOCAL_SIZE=256)

skip()
{
    echo "offline_kernels: skipped: $*"
    exit 77
}

to_ptx()
{
    "$clang" "${options[@]}" "$@" -target nvptx64-nvidia-nvcl -Xclang -target-cpu -Xclang sm_80 -Xclang -target-feature -Xclang +ptx75 \
        -Xclang -mlink-builtin-bitcode -Xclang "$clc/nvptx64--nvidiacl.bc" -S
}

to_amd()
{
    local arch=$1
    shift
    "$clang" "${options[@]}" "$@" -target amdgcn-amd-amdhsa "-mcpu=$arch" -nogpulib -Xclang -mlink-builtin-bitcode -Xclang "$clc/amdgcn--amdhsa.bc" -S
}

# One program: lines "ARCH PROGRAM KERNEL REGISTERS SPILLED STACK", or "ERROR ARCH PROGRAM" after the compiler's words.
compile()
{
    local program=$1 src=$2 dst=$3 extra=${4:-} name arch work
    name="$program/$src/$dst${extra:+/f64}"
    work=$(mktemp -d "$tmp/XXXXXX") || return 1
    cat "$kernels/quant_math.h" "$kernels/launch.h" "$kernels/element.h" "$kernels/$program.cl" >"$work/k.cl"
    local -a defines=("-DCLQ_SRC=$src" "-DCLQ_DST=$dst") archs=("${amd[@]}")
    [ -z "$extra" ] || defines+=(-DCLQ_HAS_FP64=1)
    case $all/$src/$dst/$extra in
    yes/* | /1/5/f64 | /1/5/ | /5/1/ | /[14]/[12]/) archs+=("${amd_more[@]}") ;;
    esac
    {
        # This clang knows no newer NVIDIA processor than sm_80; ptxas does.
        if ! to_ptx "${defines[@]}" "$work/k.cl" -o "$work/k.ptx" 2>&1; then
            echo "ERROR ptx $name"
        elif [ -z "$ptxas" ]; then
            awk -v name="$name" '/^\.entry|\.entry/ { sub(/\(.*/, "", $NF); print "ptx", name, $NF, 0, 0, 0 }' "$work/k.ptx"
        else
            for arch in "${nvidia[@]}"; do
                if ! "$ptxas" "-arch=$arch" -v "$work/k.ptx" -o "$work/k.cubin" >"$work/log" 2>&1; then
                    cat "$work/log"
                    echo "ERROR $arch $name"
                fi
                awk -v name="$name" -v arch="$arch" '
                    /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2] }
                    /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
                    /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); print arch, name, kernel, substr($0, RSTART + 5, RLENGTH - 5), spilled, stack }
                ' "$work/log"
            done
        fi
        for arch in "${archs[@]}"; do
            if ! to_amd "$arch" "${defines[@]}" "$work/k.cl" -o "$work/k.s" 2>&1; then
                echo "ERROR $arch $name"
                continue
            fi
            # Of the metadata only the kernels own lines, which are indented by 4; the last of them is the count of spills.
            awk -v name="$name" -v arch="$arch" '
                /^    \.name:/ { kernel = $2 }
                /^    \.private_segment_fixed_size:/ { stack = $2 }
                /^    \.vgpr_count:/ { count = $2 }
                /^    \.vgpr_spill_count:/ { print arch, name, kernel, count, $2, stack }
            ' "$work/k.s"
        done
    } >"$tmp/result.$program.$src.$dst.$extra"
    rm -rf "$work"
}

integers()
{
    if [ -n "$all" ] || [ "$1" = 1 ]; then echo 5 6 7 8 9 10 11; else echo 5 8 9; fi
}

# The dtype pairs of each program, as in the comments at its top; numbers of enum clq_dtype.
pairs()
{
    local float int
    case $1 in
    quantize) for float in 1 2 3; do for int in $(integers $float); do echo "$1 $float $int"; done; done ;;
    dequantize) for float in 1 2 3; do for int in $(integers $float); do echo "$1 $int $float"; done; done ;;
    error_stats)
        for float in 1 2 3; do for int in $float $(integers $float); do
            echo "$1 $float $int f64"
            [ -z "$all" ] && [ $float != 1 ] || echo "$1 $float $int"
        done; done
        ;;
    minmax) for float in 1 2 3; do echo "$1 $float 1"; done ;;
    convert) for float in "1 2" "1 3" "2 1" "2 3" "3 1" "3 2" "4 1" "4 2" "4 3" "6 6" "8 8" "10 10" "11 11" "12 12"; do echo "$1 $float"; done ;;
    qparams) echo "$1 1 1" ;;
    fake_quantize | backward) for float in 1 2 3; do echo "$1 $float 0"; done ;;
    learnable)
        for float in 1 2 3; do
            echo "$1 $float 0 f64"
            [ -z "$all" ] && [ $float != 1 ] || echo "$1 $float 0"
        done
        ;;
    requantize) for int in 5 6 7 8 11; do
        echo "$1 $int 5"
        [ -z "$all" ] || echo "$1 $int 6"
    done ;;
    *)
        echo "offline_kernels: $1.cl: its dtypes are not known here" >&2
        return 1
        ;;
    esac
}

[ -n "$clang" ] || skip "no clang-15 or clang-14"
for file in nvptx64--nvidiacl.bc amdgcn--amdhsa.bc; do
    [ -f "$clc/$file" ] || skip "no libclc: $clc/$file"
done
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
echo '__kernel void f(__global int *x) { x[get_global_id(0)] = 1; }' >"$tmp/probe.cl"
to_ptx "$tmp/probe.cl" -o "$tmp/probe.s" >"$tmp/probe.log" 2>&1 || skip "$clang does not compile for NVIDIA: $(head -n 1 "$tmp/probe.log")"
known=()
for arch in "${nvidia[@]}"; do
    [ -n "$ptxas" ] || continue
    if "$ptxas" "-arch=$arch" "$tmp/probe.s" -o "$tmp/probe.o" 2>/dev/null; then known+=("$arch"); else echo "skipped: $arch, which $ptxas does not know"; fi
done
nvidia=("${known[@]}")
[ -n "$ptxas" ] || echo "skipped: registers and spills for NVIDIA: there is no ptxas"
for list in amd amd_more; do
    declare -n archs=$list
    known=()
    for arch in "${archs[@]}"; do
        if to_amd "$arch" "$tmp/probe.cl" -o "$tmp/probe.s" 2>/dev/null; then known+=("$arch"); else echo "skipped: $arch, which $clang does not know"; fi
    done
    archs=("${known[@]}")
done

for file in "$kernels"/*.cl; do
    pairs "$(basename "$file" .cl)" || exit 1
done >"$tmp/programs"
running=0
while read -r program src dst extra; do
    [ $running -lt "$(nproc)" ] || {
        wait -n
        running=$((running - 1))
    }
    compile "$program" "$src" "$dst" "$extra" &
    running=$((running + 1))
done <"$tmp/programs"
wait

[ "$(find "$tmp" -name 'result.*' | wc -l)" = "$(wc -l <"$tmp/programs")" ] || {
    echo "offline_kernels: a compilation left no result"
    exit 1
}
cat "$tmp"/result.* >"$tmp/all"
awk '$1 != "ERROR" && NF == 6 && $4 ~ /^[0-9]+$/ {
        key = $3 " " $1
        if (!(key in most) || $4 > most[key]) { most[key] = $4; at[key] = $2 }
        next
    }
    { print }
    END { for (key in most) print "registers", key, most[key], at[key] | "sort" }' "$tmp/all"
awk '$5 + $6 > 0 && NF == 6 { print "SPILL", $0; spills++ }
    $1 == "ERROR" { errors++ }
    NF == 6 && $4 ~ /^[0-9]+$/ { kernels++; if (!($1 in seen)) { seen[$1]; archs = archs " " $1 } }
    END {
        printf "offline_kernels: %d programs, %d compiled kernels for%s: %d errors, %d with spills or a stack frame\n", programs, kernels, archs, errors, spills
        exit errors + spills > 0 || kernels == 0
    }' programs="$(wc -l <"$tmp/programs")" "$tmp/all"
