#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles every kernel of every program of kernels/ without a device: for NVIDIA to PTX and, where there is a ptxas, to machine code; for AMD to machine code;
# for Intel, where there are ocloc and iga64, those of its matrix unit.
#
#   tests/offline_kernels.sh [--all] [KERNELS]      the folder; else that of this tree
#
# Fails on an error, a spill and a stack frame (an array that registers cannot hold), and if a kernel of matrix products has fewer of its unit's instructions
# than one step of K takes. For sm_80, sm_90, gfx1030 and gfx90a: all programs of f32, of
# f16 and bf16 those with s8, u4 and s16, error_stats and learnable with f64 where both are built; between f32 and s8 further AMD processors. Matrix products of
# s8, in all tilings of src/opencl/cl_unit.c beside KERNELS, on the processors that have the unit. --all: all dtype
# pairs, with and without f64, for all processors; three times as long. 77 without clang or libclc. The last lines are the units' instructions, found and
# needed, the most registers of each kernel, and totals. CLANG, LIBCLC, PTXAS, OCLOC, IGA: other tools.
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
declare -A unit_processors=([nvidia]="sm_80 ${all:+sm_86 sm_89} sm_90" [portable]="sm_90 gfx1030" [sdot4]="gfx906 gfx1030 gfx90a" [sudot4]=gfx1100
    [mfma]="gfx908 gfx90a" [mfma-940]=gfx940 [wmma]=gfx1100 [dpas-8]=dg2 [dpas-16]=pvc)
# How instructions are found: opcodes in NVIDIA's machine code, words in its PTX and in the assembly of the others.
# shellcheck disable=SC2034 # by name, in count_units
declare -A sass=([IDP4A]=226 [IMMA]=237 [LDSM]=83b [LDGSTS]=fae) words=([IDP4A]=dp4a.s32 [IMMA]=mma.sync [LDSM]=ldmatrix [LDGSTS]=cp.async.c[ag] [dot4]=v_dot4
    [mfma]=v_mfma_i32 [wmma]=v_wmma_i32 [dpas]=dpas.)
clang=${CLANG:-$(command -v clang-15 || command -v clang-14)}
ptxas=${PTXAS:-$(command -v ptxas || ls /usr/local/cuda*/bin/ptxas 2>/dev/null | head -n 1)}
ocloc=${OCLOC:-$(command -v ocloc)}
iga=${IGA:-$(command -v iga64)}
options=(-x cl -cl-std=CL1.2 -Xclang -finclude-default-header -O3 -w -D__OPENCL_VERSION__=120)

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

# The program that compile() has put into $work, for one processor, with its $name, $defines and $needs: lines as there.
assemble_nvidia()
{
    local arch=$1
    if ! "$ptxas" "-arch=$arch" ${limit:+"-maxrregcount=$limit"} -v "$work/k.ptx" -o "$work/k.cubin" >"$work/log" 2>&1; then
        cat "$work/log"
        echo "ERROR $arch $name"
        return
    fi
    awk -v name="$name" -v arch="$arch" '
        /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2] }
        /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
        /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); print arch, name, kernel, substr($0, RSTART + 5, RLENGTH - 5), spilled, stack }
    ' "$work/log"
    # Instructions have 16 bytes; the lowest 12 bits are the opcode.
    count_units "$arch" sass < <(od -An -v -t x8 -w16 "$work/k.cubin" | awk '{ print substr($1, 14) }')
}

assemble_amd()
{
    local arch=$1
    if ! to_amd "$arch" "${defines[@]}" "$work/k.cl" -o "$work/k.s" 2>&1; then
        echo "ERROR $arch $name"
        return
    fi
    # Of the metadata only the kernels own lines, which are indented by 4; the last of them is the count of spills.
    awk -v name="$name" -v arch="$arch" '
        /^    \.name:/ { kernel = $2 }
        /^    \.private_segment_fixed_size:/ { stack = $2 }
        /^    \.vgpr_count:/ { count = $2 }
        /^    \.vgpr_spill_count:/ { print arch, name, kernel, count, $2, stack }
    ' "$work/k.s"
    count_units "$arch" words <"$work/k.s"
}

# ocloc knows Intel's extensions, but does not say so. It tells of registers only when it spills; a kernel has 128 of them.
assemble_intel()
{
    local arch=$1 platform=xehpg
    [ "$arch" != pvc ] || platform=xehpc
    rm -rf "$work/intel"
    if ! "$ocloc" compile -file "$work/k.cl" -device "$arch" -out_dir "$work/intel" -options \
        "-Dcl_intel_subgroup_matrix_multiply_accumulate -Dcl_intel_subgroup_local_block_io ${defines[*]}" >"$work/log" 2>&1 ||
        ! "$ocloc" disasm -file "$work"/intel/*.bin -dump "$work/intel" -device "$arch" >>"$work/log" 2>&1; then
        cat "$work/log"
        echo "ERROR $arch $name"
        return
    fi
    echo "$arch $name gemm_tiles 128 $(sed -n 's/.*spilled around \([0-9]*\).*/\1/p' "$work/log" | awk '{ n += $1 } END { print n + 0 }') 0"
    "$iga" -d -p=$platform "$work/intel/gemm_tiles_KernelHeap.dat" >"$work/k.s" 2>/dev/null
    count_units "$arch" words <"$work/k.s"
}

# Lines "UNIT ARCH PROGRAM INSTRUCTION FOUND of NEEDED" from lines of code, for $needs as "IMMA:64,LDSM:16".
count_units()
{
    local arch=$1 found need code
    local -n patterns=$2
    [ "$needs" != - ] || return 0
    code=$(cat)
    for need in ${needs//,/ }; do
        found=$(grep -c "${patterns[${need%:*}]}" <<<"$code")
        echo "UNIT $arch $name ${need%:*} $found of ${need#*:}"
    done
}

# One program: lines "ARCH PROGRAM KERNEL REGISTERS SPILLED STACK" and "UNIT ...", or "ERROR ARCH PROGRAM" after the compiler's words.
compile()
{
    local number=$1 program=$2 name=$2/$3 archs=$4 needs=$5 arch work option limit=
    local -a headers=(element.h) defines=()
    shift 5
    for option in "$@"; do
        case $option in
        -cl-nv-maxrregcount=*) limit=${option#*=} ;;
        *) defines+=("$option") ;;
        esac
    done
    case $program in
    gemm_*) headers=(gemm.h gemm_dot.h) ;;
    esac
    work=$(mktemp -d "$tmp/XXXXXX") || return 1
    (cd "$kernels" && cat quant_math.h launch.h "${headers[@]}" "$program.cl") >"$work/k.cl"
    {
        # This clang knows no newer NVIDIA processor than sm_80; ptxas does.
        if [[ $archs == *sm_* ]] && ! to_ptx "${defines[@]}" "$work/k.cl" -o "$work/k.ptx" 2>&1; then
            echo "ERROR ptx $name"
            archs=
        elif [[ $archs == *sm_* ]] && [ -z "$ptxas" ]; then
            awk -v name="$name" '/^\.entry|\.entry/ { sub(/\(.*/, "", $NF); print "ptx", name, $NF, 0, 0, 0 }' "$work/k.ptx"
            count_units ptx words <"$work/k.ptx"
        fi
        for arch in ${archs//,/ }; do
            case $arch in
            sm_*) [ -z "$ptxas" ] || assemble_nvidia "$arch" ;;
            gfx*) assemble_amd "$arch" ;;
            *) assemble_intel "$arch" ;;
            esac
        done
    } >"$tmp/result.$number"
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

# From here on lines "PROGRAM NAME ARCH,... NEEDS OPTION...", what compile() takes but for the number. First those of a program by dtype pairs.
element_programs()
{
    local program src dst extra
    local -a archs
    pairs "$1" >"$tmp/pairs" || return 1
    while read -r program src dst extra; do
        archs=("${nvidia[@]}" "${amd[@]}")
        case $all/$src/$dst/$extra in
        yes/* | /1/5/f64 | /1/5/ | /5/1/ | /[14]/[12]/) archs+=("${amd_more[@]}") ;;
        esac
        echo "$program $src/$dst${extra:+/f64} $(join "${archs[@]}") - -DCLQ_LOCAL_SIZE=256 -DCLQ_SRC=$src -DCLQ_DST=$dst${extra:+ -DCLQ_HAS_FP64=1}"
    done <"$tmp/pairs"
}

join()
{
    local IFS=,
    echo "$*"
}

# The processors of a list that the tools know.
known()
{
    local arch
    for arch in $1; do
        [[ " ${unknown[*]} " == *" $arch "* ]] || echo "$arch"
    done
}

# What src/opencl/cl_unit.c says: lines "UNIT FILE|OPTIONS" and, after each, those of its tilings, "M N LOCAL_SIZE|OPTIONS".
list_units()
{
    grep -v '^#include' "$kernels/../src/opencl/cl_unit.c" | "$clang" -E -P -x c - | tr '\n' ' ' | sed -E 's/" +"//g' |
        grep -oE '\{ *"[a-z0-9-]+", *CLQ_CL_GEMM_[A-Z]+, *"[^"]*"|\{ *[0-9]+, *[0-9]+, *[0-9]+, *[0-9.]+f, *"[^"]*"' |
        sed -E 's/\{ *"([a-z0-9-]+)", *CLQ_CL_([A-Z_]+), *"(.*)"/\1 \L\2\E|\3/; s/\{ *([0-9]+), *([0-9]+), *([0-9]+), *[0-9.]+f, *"(.*)"/\1 \2 \3|\4/'
}

# Which of the kinds above a unit's options are for; "" if nothing here compiles for it.
kind_of()
{
    case $1 in
    *CLQ_EMULATED* | *CLQ_DOT=2* | *CLQ_DOT=5* | *CLQ_UNIT=6*) ;;
    *CLQ_UNIT=1*) echo mfma ;;
    *CLQ_UNIT=2*) echo mfma-940 ;;
    *CLQ_UNIT=3*) echo wmma ;;
    *CLQ_UNIT=4*) echo dpas-8 ;;
    *CLQ_UNIT=5*) echo dpas-16 ;;
    *CLQ_DOT=1*) echo nvidia ;;
    *CLQ_DOT=3*) echo sdot4 ;;
    *CLQ_DOT=4*) echo sudot4 ;;
    *CLQ_DOT=0*) echo portable ;;
    *) echo unknown ;;
    esac
}

# So many dot products of four bytes.
dot_needs()
{
    case $1 in
    portable) echo - ;;
    nvidia) echo "IDP4A:$2" ;;
    *) echo "dot4:$2" ;;
    esac
}

# The instructions of a step of K of a tile: of gemm_tiles.cl those for an item's results over 16 of k, of the others those for the results of a warp,
# wavefront or sub-group over 64 of k; gemm_matrix.cl goes through those in 4 parts (WMMA) or 2 (DPAS).
tile_needs()
{
    local program=$1 kind=$2 m=$3 n=$4 local_size=$5
    local products=$((m * n * 64 / local_size)) warps_m=$((local_size == 256 && m > n ? 4 : 2))
    local warps_n=$((local_size / 32 / warps_m))
    case $program/$kind in
    gemm_tiles/*) dot_needs "$kind" $((m * n * 4 / local_size)) ;;
    gemm_mma/*)
        echo "IMMA:$((products * 32 / (16 * 8 * 32))),LDSM:$(((m / warps_m + n / warps_n) / 8)),LDGSTS:$(((m + n) * 4 / local_size))"
        ;;
    */mfma) echo "mfma:$((products * 64 / (16 * 16 * 16)))" ;;
    */mfma-940) echo "mfma:$((products * 64 / (16 * 16 * 32)))" ;;
    */wmma) echo "wmma:$((products * 32 / (16 * 16 * 16) / 4))" ;;
    */dpas-8) echo "dpas:$((products * 8 / (8 * 8 * 32) / 2))" ;;
    */dpas-16) echo "dpas:$((products * 16 / (8 * 16 * 32) / 2))" ;;
    esac
}

# Products of few rows by a unit's dot products, and its tiles; both with the variables of gemm_programs().
rows_programs()
{
    local rows cols
    for rows in 1 2 4 8; do
        cols=$((rows > 4 ? 4 : 8))
        echo "gemm_rows $unit/$rows $where $(dot_needs "$kind" $((rows * cols * 4))) $unit_options -DCLQ_ROWS=$rows -DCLQ_COLS=$cols -DCLQ_LOCAL_SIZE=128" \
            "-DCLQ_SRC=5 -DCLQ_DST=5"
    done
}

tile_programs()
{
    local m n local_size types
    read -r m n local_size <<<"$1"
    for types in 5/5 ${all:+6/5 5/6 6/6}; do
        echo "$program $unit/${m}x$n/$types $where $(tile_needs "$program" "$kind" "$m" "$n" "$local_size") $unit_options $2 -DCLQ_TILE_M=$m -DCLQ_TILE_N=$n" \
            "-DCLQ_LOCAL_SIZE=$local_size -DCLQ_SRC=${types%/*} -DCLQ_DST=${types#*/}"
    done
}

gemm_programs()
{
    local head options unit program kind unit_options types where
    while IFS='|' read -r head options; do
        case $head in
        [a-z]*)
            read -r unit program <<<"$head"
            unit_options=$options
            kind=$(kind_of "$options")
            [ "$kind" != unknown ] || {
                echo "offline_kernels: $unit: its processors are not known here" >&2
                return 1
            }
            where=$(known "${unit_processors[${kind:-none}]:-}" | paste -sd ,)
            [[ $unit != portable-* ]] || where=
            [ -n "$where" ] || echo "skipped: $unit" >&2
            [ -z "$where" ] || [ "$program" != gemm_tiles ] || rows_programs
            ;;
        *) [ -z "$where" ] || tile_programs "$head" "$options" ;;
        esac
    done < <(list_units)
    where=$(join "${nvidia[@]}" "${amd[@]}")
    for types in 5 6; do
        echo "gemm_pack $types $where - -DCLQ_LOCAL_SIZE=256 -DCLQ_SRC=$types -DCLQ_DST=0"
    done
    echo "gemm_finish 5/5 $where - -DCLQ_LOCAL_SIZE=256 -DCLQ_SRC=5 -DCLQ_DST=5"
    echo "gemm_f32 1/1 $where - -DCLQ_LOCAL_SIZE=256"
}

[ -n "$clang" ] || skip "no clang-15 or clang-14"
for file in nvptx64--nvidiacl.bc amdgcn--amdhsa.bc; do
    [ -f "$clc/$file" ] || skip "no libclc: $clc/$file"
done
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
echo '__kernel void f(__global int *x) { x[get_global_id(0)] = 1; }' >"$tmp/probe.cl"
to_ptx "$tmp/probe.cl" -o "$tmp/probe.s" >"$tmp/probe.log" 2>&1 || skip "$clang does not compile for NVIDIA: $(head -n 1 "$tmp/probe.log")"
unknown=()
for arch in $(echo "${nvidia[@]}" "${amd[@]}" "${amd_more[@]}" "${unit_processors[@]}" | tr ' ' '\n' | sort -u); do
    case $arch in
    sm_*) [ -z "$ptxas" ] || "$ptxas" "-arch=$arch" "$tmp/probe.s" -o "$tmp/probe.o" 2>/dev/null ;;
    gfx*) to_amd "$arch" "$tmp/probe.cl" -o "$tmp/probe.gfx" 2>/dev/null ;;
    *) [ -n "$ocloc" ] && [ -n "$iga" ] && "$ocloc" compile -file "$tmp/probe.cl" -device "$arch" -out_dir "$tmp/probe" >/dev/null 2>&1 ;;
    esac && continue
    unknown+=("$arch")
    echo "skipped: $arch, which no compiler here knows"
done
[ -n "$ptxas" ] || echo "skipped: registers and spills for NVIDIA: there is no ptxas"
for list in nvidia amd amd_more; do
    declare -n own=$list
    mapfile -t own < <(known "${own[*]}")
done

for file in "$kernels"/*.cl; do
    program=$(basename "$file" .cl)
    [[ $program == gemm_* ]] || element_programs "$program" || exit 1
done >"$tmp/programs"
gemm_programs >>"$tmp/programs" || exit 1
for file in "$kernels"/gemm_*.cl; do
    grep -q "^$(basename "$file" .cl) " "$tmp/programs" || {
        echo "offline_kernels: $file: no unit that is compiled here is made of it" >&2
        exit 1
    }
done
running=0
number=0
while read -ra line; do
    [ $running -lt "$(nproc)" ] || {
        wait -n
        running=$((running - 1))
    }
    number=$((number + 1))
    compile $number "${line[@]}" &
    running=$((running + 1))
done <"$tmp/programs"
wait

[ "$(find "$tmp" -name 'result.*' | wc -l)" = "$(wc -l <"$tmp/programs")" ] || {
    echo "offline_kernels: a compilation left no result"
    exit 1
}
cat "$tmp"/result.* >"$tmp/all"
grep '^UNIT ' "$tmp/all" | sort
awk '$1 != "ERROR" && $1 != "UNIT" && NF == 6 && $4 ~ /^[0-9]+$/ {
        key = $3 " " $1
        if (!(key in most) || $4 > most[key]) { most[key] = $4; at[key] = $2 }
        next
    }
    $1 != "UNIT"
    END { for (key in most) print "registers", key, most[key], at[key] | "sort" }' "$tmp/all"
# clang-15 gives gfx1100 no more than 128 of its 256 registers: what it spills beyond them tells nothing.
awk '$1 == "UNIT" {
        units++
        if ($5 < $7) { print "TOO FEW", $0; missing++ }
        next
    }
    $1 == "ERROR" { errors++; next }
    NF == 6 && $5 + $6 > 0 && !($1 == "gfx1100" && $4 == 128) { print "SPILL", $0; spills++ }
    NF == 6 && $4 ~ /^[0-9]+$/ { kernels++; if (!($1 in seen)) { seen[$1]; archs = archs " " $1 } }
    END {
        printf "offline_kernels: %d programs, %d compiled kernels for%s: %d errors, %d with spills or a stack frame; %d counts of instructions, %d too low\n",
            programs, kernels, archs, errors, spills, units, missing
        exit errors + spills + missing > 0 || kernels == 0
    }' programs="$(wc -l <"$tmp/programs")" "$tmp/all"
