#!/bin/sh
# SPDX-License-Identifier: MIT
# Quantizes the Fashion-MNIST images (Debian: dataset-fashion-mnist) with the program clquant, and shows how far they moved.
# usage: demo.sh [BUILD-FOLDER]; the default is $CLQ_BUILDDIR, else build/ beside this script's folder
set -eu
LC_ALL=C
export LC_ALL

images=/usr/share/datasets/fashion-mnist
build=${1:-${CLQ_BUILDDIR:-$(dirname "$0")/../build}}
build=$(cd "$build" && pwd)
work=$build/demo
clquant=$build/clquant

fail()
{
    echo "demo: $*" >&2
    exit 1
}

# number FILE KEY: the first number under that key in a report of clquant --json.
number()
{
    sed -n "s/.*\"$2\": \"*\([^,}\"]*\).*/\1/p" "$1" | head -n 1
}

header()
{
    printf '%-6s %-4s %-23s %9s %9s %8s %8s %10s %9s | %9s %5s | %9s %5s  %s\n' images type scheme MSE MAE largest 'SQNR dB' \
        'bytes f32' 'quantized' 'quantize s' GB/s 'restore s' GB/s path
}

# row NAME TYPE SCHEME GRANULARITY OPTION...: quantizes $work/NAME.npy, restores it, compares, prints a line of the table.
row()
{
    name=$1 type=$2 title="$3, $4" quantized=$work/$1-$2-$4.safetensors
    shift 4
    "$clquant" quantize "$work/$name.npy" -o "$quantized" --dtype "$type" "$@" --json >"$work/quantize.json"
    "$clquant" dequantize "$quantized" -o "$work/$name-restored.npy" --json >"$work/dequantize.json"
    "$clquant" compare "$work/$name.npy" "$work/$name-restored.npy" --json >"$work/compare.json"
    printf '%-6s %-4s %-23s %9.6f %9.6f %8.4f %8.2f %10d %9d | %9.3f %5.1f | %9.3f %5.1f  %s\n' "$name" "$type" "$title" \
        "$(number "$work/compare.json" mse)" "$(number "$work/compare.json" mae)" "$(number "$work/compare.json" max_error)" \
        "$(number "$work/compare.json" sqnr_db)" \
        "$(number "$work/quantize.json" bytes_in)" "$(number "$work/quantize.json" bytes_out)" \
        "$(number "$work/quantize.json" seconds)" "$(number "$work/quantize.json" gb_per_second)" \
        "$(number "$work/dequantize.json" seconds)" "$(number "$work/dequantize.json" gb_per_second)" \
        "$(number "$work/quantize.json" path)"
}

[ -x "$clquant" ] || fail "$clquant is not there: run ./setup build"
[ -x "$build/examples/idx_to_npy" ] || fail "$build/examples/idx_to_npy is not there: it needs zlib"
[ -e "$images/train-images-idx3-ubyte.gz" ] || fail "$images is not there: install dataset-fashion-mnist"
mkdir -p "$work"

echo "Fashion-MNIST: grey pixels from 0 to 255, as f32, a row of 28 x 28 = 784 for each image"
for name in t10k train; do
    printf '%s: ' "$name"
    "$build/examples/idx_to_npy" "$images/$name-images-idx3-ubyte.gz" "$work/$name.npy"
done
echo
header
for name in t10k train; do
    row "$name" s8 symmetric per-channel --axis 0
    row "$name" s8 symmetric per-group --axis 1 --group-size 112
    row "$name" u8 asymmetric per-channel --scheme asymmetric --axis 0
    row "$name" s4 symmetric per-channel --axis 0
    row "$name" s4 symmetric per-group --axis 1 --group-size 112
done
cat <<END

MSE, MAE and the largest error are in grey levels. A channel is an image, a group 112 pixels of one: four of its 28 lines.
Seconds are those of the whole command, from file to file; GB/s are the bytes that the kernels read and wrote, per second that
they took. The quantized bytes include scales and zero points.

The files are in $work
Look at one: $clquant inspect $work/train-s8-per-channel.safetensors
END
