#!/bin/sh
# SPDX-License-Identifier: MIT
# The program clquant: every command and option, exit statuses, error lines, what is written, and the way back.
. "${CLQ_SRCDIR:-.}/tests/tool_support.sh"
cd "$work" || exit 1

# ---------------------------------------------------------------------------------------------- help and usage

expect 0 0 "$clquant" --help
for command in devices quantize dequantize inspect compare bench tune; do
    says out "  $command "
done
expect 0 0 "$clquant" --version
says out "clquant 0."
for command in devices quantize dequantize inspect compare bench tune; do
    expect 0 0 "$clquant" $command --help
    says out "usage: clquant $command"
    expect 2 1 "$clquant" $command --frobnicate
    says err "clquant: $command: unknown option '--frobnicate'; try 'clquant $command --help'"
    expect 2 1 "$clquant" $command -Z
    says err "unknown option '-Z'"
    expect 2 1 "$clquant" $command --json=yes a b
    says err "option '--json' takes no value"
    expect 2 1 "$clquant" $command a b c
    says err "stray argument"
done
for command in quantize dequantize inspect compare; do
    expect 2 1 "$clquant" $command
    says err "missing operand"
done
expect 2 1 "$clquant"
says err "no command; try 'clquant --help'"
expect 2 1 "$clquant" frobnicate
says err "unknown command 'frobnicate'"
expect 2 1 "$clquant" --frobnicate
expect 2 1 "$clquant" --version more
expect 2 1 "$clquant" quantize in.npy
says err "no output"
expect 2 1 "$clquant" dequantize in.safetensors
says err "no output"
expect 2 1 "$clquant" quantize in.npy -o
says err "option '-o' needs a value"
expect 2 1 "$clquant" quantize in.npy -o out.npy
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --dtype s9
says err "--dtype 's9': must be one of s8, u8, s4, u4, s16, u16"
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --scheme odd
says err "must be one of symmetric, symmetric-full, asymmetric, pow2"
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --per-tensor --axis 1
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --group-size 4
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --axis 0 --group-size 0
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --axis one
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --division --reciprocal
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --threads 0
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --threads 4x
expect 2 1 "$clquant" quantize in.npy -o out.safetensors --device frobnicator
absent out.safetensors

# ---------------------------------------------------------------------------------------------- devices

expect 0 0 "$clquant" devices
[ "$(grep -c '^[a-z:0-9]* (would be used)$' out)" = 1 ] || complain "devices would not use exactly one"
says out "why"
expect 0 0 "$clquant" devices --json
# OpenCL devices, if there are any, come first.
last=$(($(grep -c '"id":' out) - 1))
is devices.$last.id cpu
expect 0 0 env CLQ_CPU=scalar "$clquant" devices --json
is devices.$last.path scalar
expect 2 1 env CLQ_DEVICE=frobnicator "$clquant" devices
expect 0 0 env CLQ_DEVICE=cpu "$clquant" devices --json
is devices.$last.would_be_used true
is devices.$last.reason 'CLQ_DEVICE names it'
expect 1 1 "$clquant" quantize in.npy -o out.safetensors --device opencl:99
says err '"opencl:99"'
expect 0 0 "$clquant" devices
! grep -E '^  [a-z]+ *$' out || complain "devices has a line without text"
expect 0 0 "$clquant" devices --quiet
[ ! -s out ] || complain "devices --quiet prints"

# ---------------------------------------------------------------------------------------------- bench

expect 2 1 "$clquant" bench frobnicate
says err "unknown operation 'frobnicate'"
for shape in '' 0 -1 4x x4 1.5 4x0 1x2x3x4x5 99999999999999999999 1048576x1048577; do
    expect 2 1 "$clquant" bench --shape "$shape"
    says err "--shape '$shape': must be N, ROWSxCOLUMNS, MxNxK or BATCHxMxNxK"
done
expect 2 1 "$clquant" bench gemm --shape 100
says err "no operation that was asked for takes this --shape"
expect 2 1 "$clquant" bench quantize --shape 4x4x4
expect 2 1 "$clquant" bench --cpu frobnicator
says err '"frobnicator"'
expect 2 1 "$clquant" bench --device frobnicator
expect 1 1 "$clquant" bench --device opencl:99
expect 2 1 env CLQ_CPU=frobnicator "$clquant" bench
expect 2 1 env CLQ_DEVICE=frobnicator "$clquant" bench
expect 0 0 "$clquant" bench dynamic_quantize --shape 1000 --cpu scalar --threads 1 --json
for k in 0 1 2; do
    is $k.op limit
    is $k.shape 4096
    is $k.share 1
done
is 0.variant read
is 1.variant write
is 2.variant copy
is 3.op dynamic_quantize
is 3.variant 'per tensor'
is 3.shape 1000
is 3.dtype 'f32 s8'
is 3.threads 1
is 3.cpu scalar
is 3.device cpu
is 3.unit GB/s
for key in median_s min_s spread rate share; do
    "$value" out 3.$key >number || complain "no $key"
done
# Every operation in its variants with every table: that results are right is a condition of their being measured.
expect 0 0 "$small" bench --shape 35x66 --device cpu
for variant in 'per tensor' 'per channel, outer' 'per channel, inner' 'per group of 32' batch; do
    says out "quantize               $variant"
done
for operation in quantize dequantize requantize dynamic_quantize fake_quantize fake_quantize_mask backward backward_mask backward_learnable \
    observe_fake_quantize minmax choose_qparams convert error_stats; do
    says out "$operation  "
done
says out scalar
says out GB/s
expect 0 0 "$small" bench convert --device cpu --quiet
[ ! -s out ] || complain "bench --quiet prints"
expect 0 0 "$small" bench gemm --shape 7x35x66 --device cpu
says out "dot products"
says out "not packed"
says out "u8 s8 f32"
says out GOPS
expect 0 0 "$small" bench gemm --shape 3x7x35x66 --cpu scalar --threads 2 --json
is 0.op limit
[ "$(grep -c '"op": "gemm"' out)" = 8 ] || complain "bench has no gemm of eight types"
expect 0 0 "$small" bench gemm --shape 600x513x512 --cpu scalar # of which not all rows are checked
expect 0 0 "$clquant" tune --device cpu
says out "nothing to do on the CPU"
if "$clquant" devices | grep -q '^opencl:0'; then
    expect 0 0 "$small" bench quantize --shape 1000 --device opencl:0 --json
    is 0.op limit
    is 0.device opencl:0
    is 1.device opencl:0
    is 1.cpu ''
    expect 0 0 "$small" bench gemm --shape 4x4x4 --device opencl:0
    says out GOPS
fi

# ---------------------------------------------------------------------------------------------- a .npy and back

"$make" x.npy x:F32:6x50:uniform
expect 0 0 "$clquant" quantize x.npy -o q.safetensors --json --threads 1
is command quantize
is tensors.0.name x
is tensors.0.from f32
is tensors.0.to s8
is tensors.0.scheme symmetric
is tensors.0.granularity per-channel
is tensors.0.axis 0
is tensors.0.quotient division
is tensors.0.clipped 0
is tensors.0.bytes_in 1200
is tensors.0.bytes_out 348
is threads 1
expect 0 0 "$clquant" inspect q.safetensors --json
is format .safetensors
is tensors.0.name x_scale
is tensors.0.dtype F32
is tensors.0.shape '[6]'
is tensors.0.parameter_of x
is tensors.1.name x_zero_point
is tensors.1.dtype I32
is tensors.1.shape '[6]'
is tensors.2.name x
is tensors.2.dtype I8
is tensors.2.shape '[6,50]'
is tensors.2.quantization.source_dtype F32
is tensors.2.quantization.qmin -128
is quantized 1
expect 0 0 "$clquant" inspect q.safetensors
says out "s8 [6,50] from F32, symmetric, per channel, axis 0"
says out "3 tensors, 1 quantized, 348 bytes of data"
expect 0 0 "$clquant" inspect x.npy
says out "<f4"
expect 0 0 "$clquant" dequantize q.safetensors -o y.npy
says out "1 dequantized, 0 passed through"
expect 0 0 "$clquant" compare x.npy y.npy --json
is tensors.0.outcome compared
is tensors.0.elements 300
mse=$("$value" out tensors.0.mse)
expect 0 0 "$clquant" compare x.npy q.safetensors --json
is tensors.0.mse "$mse"
is tensors.0.bytes_a 1200
is tensors.0.bytes_b 348
expect 0 0 "$clquant" compare q.safetensors y.npy --json
is tensors.0.mse 0
is tensors.0.sqnr_db Infinity
is tensors.0.cosine 1
expect 0 0 "$clquant" compare q.safetensors q.safetensors
says out "inf"

# The same bits whatever the table of kernels, the number of threads, and where options stand.
expect 0 0 env CLQ_CPU=scalar "$clquant" quantize -o q1.safetensors x.npy --quiet --threads 2
same q.safetensors q1.safetensors
[ ! -s out ] || complain "quantize --quiet prints"
expect 0 0 "$clquant" quantize x.npy -o q1.safetensors
says out "x       [6,50]  f32   s8  symmetric, per channel, axis 0"
says out "1 quantized, 0 passed through: 1.2 kB to 348 B"
says out "written to q1.safetensors"
expect 0 2 "$clquant" quantize x.npy -o q1.safetensors --verbose
says err 'tensor "x": f32 to s8, symmetric, per channel, axis 0'

# Input and output may be the same file, and an old file is replaced.
cp q.safetensors both.safetensors
expect 0 0 "$clquant" dequantize both.safetensors -o both.safetensors
expect 0 0 "$clquant" compare both.safetensors q.safetensors --json
is tensors.0.mse 0

# ---------------------------------------------------------------------------------------- every type, scheme and granularity

# Uniform data with ends at exactly -1 and 1: the error is at most half a scale, and a scale where an end is cut off (the whole
# range of a symmetric scheme) or the zero point was rounded (asymmetric).
"$make" x.safetensors a:F32:7x33:uniform b:BF16:4x5x6:uniform c:F16:9x9:uniform
: >limits
dtypes="s8 u8 s4 u4 s16 u16"
[ -z "${CLQ_TEST_QUICK:-}" ] || dtypes="s8 u4"
for dtype in $dtypes; do
    for scheme in symmetric symmetric-full asymmetric pow2; do
        for granularity in --per-tensor "--axis 0" "--axis -1" "--axis 1 --group-size 4"; do
            # shellcheck disable=SC2086 # options
            expect 0 0 "$clquant" quantize x.safetensors -o q.safetensors --dtype $dtype --scheme $scheme $granularity --quiet
            # 64 elements at a time or all at once: the same file.
            # shellcheck disable=SC2086
            expect 0 0 "$small" quantize x.safetensors -o q1.safetensors --dtype $dtype --scheme $scheme $granularity --quiet
            same q.safetensors q1.safetensors
            expect 0 0 "$clquant" compare x.safetensors q.safetensors --json --threads 1
            for tensor in 0 1 2; do
                echo "$dtype $scheme $("$value" out tensors.$tensor.max_error)" >>limits
            done
        done
        expect 0 0 "$clquant" dequantize q.safetensors -o y.safetensors --quiet
        expect 0 0 "$small" dequantize q.safetensors -o y1.safetensors --quiet --threads 1
        same y.safetensors y1.safetensors
        expect 0 0 "$clquant" inspect y.safetensors --json
        is tensor_count 3
        is tensors.0.dtype F32
        is tensors.0.shape '[7,33]'
        is tensors.1.dtype BF16
        is tensors.1.shape '[4,5,6]'
        is tensors.2.dtype F16
    done
done
awk -v runs="$(echo "$dtypes" | wc -w)" '{
    bits = substr($1, 2)
    steps = 2 ^ bits - 1
    positive = 2 ^ (bits - 1) - 1
    limit = $2 == "symmetric" ? 0.5 / positive : $2 == "pow2" ? 1 / positive : 2 / steps
    if (NF != 3 || $3 > limit * 1.00001 + 2e-7) { print "FAIL: largest error of " $0 ", at most " limit
        bad = 1
    }
} END { exit bad || NR != 48 * runs }' limits || complain "an error is too large"

expect 0 0 "$clquant" quantize x.safetensors -o q.safetensors --reciprocal --json
is tensors.0.quotient reciprocal
expect 0 0 "$clquant" compare x.safetensors q.safetensors --json
worst=$("$value" out tensors.0.sqnr_db) best=$("$value" out tensors.2.sqnr_db)
[ "$(echo "$worst $best" | awk '{ print $1 <= $2 }')" = 1 ] || complain "compare does not begin with the worst: $worst, $best"

# How 4 bits are stored: halved where the last extent is even, else flat.
expect 0 0 "$clquant" quantize x.safetensors -o q.safetensors --dtype u4 --per-tensor
expect 0 0 "$clquant" inspect q.safetensors --json
says out '"name": "a", "file": "q.safetensors", "dtype": "U8", "shape": [116]'
says out '"name": "b", "file": "q.safetensors", "dtype": "U8", "shape": [4, 5, 3]'
says out '"name": "a_scale", "file": "q.safetensors", "dtype": "F32", "shape": []'
says out '"name": "a_zero_point", "file": "q.safetensors", "dtype": "I32", "shape": []'

# ---------------------------------------------------------------------------------------------- OpenCL devices

# on_device OPTION...: quantizes, dequantizes and compares $in on the CPU and on $device: the same files and figures.
on_device()
{
    expect 0 0 "$clquant" quantize "$in" -o q.safetensors "$@" --quiet
    for program in "$clquant" "$small"; do
        expect 0 0 "$program" quantize "$in" -o q1.safetensors "$@" --device "$device" --json
        is device "$device"
        is path opencl
        is calls_on_cpu 0
        same q.safetensors q1.safetensors
    done
    expect 0 0 "$clquant" dequantize q.safetensors -o y.safetensors --quiet
    expect 0 0 "$clquant" dequantize q.safetensors -o y1.safetensors --device "$device" --json
    is calls_on_cpu 0
    same y.safetensors y1.safetensors
    expect 0 0 "$clquant" compare "$in" q.safetensors --json
    cp out on_cpu
    expect 0 0 "$clquant" compare "$in" q.safetensors --device "$device" --json --threads 1
    is device "$device"
    is calls_on_cpu 0
    for tensor in $(seq 0 $((tensors - 1))); do
        for key in name max_error nan infinite elements; do
            is tensors."$tensor".$key "$("$value" on_cpu tensors."$tensor".$key)"
        done
        echo "$("$value" on_cpu tensors."$tensor".mse) $("$value" out tensors."$tensor".mse)"
    done | awk '/FAIL/ || $1 - $2 > 1e-9 * $1 || $2 - $1 > 1e-9 * $1 { print; bad = 1 } END { exit bad || NR < 1 }' ||
        complain "compare has other figures on $device: $*"
}

# The first device that can be used.
XDG_CACHE_HOME=${XDG_CACHE_HOME:-$work/cache}
export XDG_CACHE_HOME
"$make" x.npy x:F32:6x50:uniform
device=
"$clquant" devices --json >listed
for id in $(seq 0 $((last - 1))); do
    "$clquant" quantize x.npy -o q.safetensors --quiet --device opencl:"$id" 2>err && device=opencl:$id && break
    says err "$("$value" listed devices."$id".reason)"
done
if [ -n "$device" ]; then
    for key in name version capabilities cache compute_units memory_bytes reason; do
        [ -n "$("$value" listed devices."$id".$key)" ] || complain "devices --json says nothing of $key"
    done
    expect 0 0 "$clquant" tune --device "$device"
    says out ", its numbers are right, tuned"
    expect 0 0 "$clquant" tune --device "$device" --json
    is command tune
    is id "$device"
    expect 0 0 "$clquant" devices
    for title in name path version has units memory kernels products why; do
        says out "  $title"
    done
    says out ", its numbers are right, tuned"
    expect 0 0 env CLQ_GEMM_UNIT=portable "$clquant" tune --device "$device"
    says out "  products portable: asked for"
    expect 1 1 env CLQ_GEMM_UNIT=arm-matrix "$clquant" tune --device "$device"
    says err 'CLQ_GEMM_UNIT = "arm-matrix"'
    expect 2 1 env CLQ_GEMM_UNIT=frobnicate "$clquant" tune --device "$device"
    says err 'CLQ_GEMM_UNIT = "frobnicate"'
    in=x.npy tensors=1
    on_device
    on_device --dtype u4 --scheme asymmetric --axis 1 --group-size 7
    in=x.safetensors tensors=3
    on_device --dtype u4 --scheme asymmetric --axis -1 --group-size 4
    on_device --per-tensor --reciprocal
    [ -n "${CLQ_TEST_QUICK:-}" ] || on_device --dtype s16 --scheme pow2 --axis 0
    expect 0 0 "$clquant" quantize x.npy -o q.safetensors --device "$device"
    says out "path opencl, $device"
    expect 0 4 "$clquant" quantize x.npy -o q.safetensors --device "$device" --verbose
    says err "$device, $("$value" listed devices."$id".name): 3 of 3 calls ran there"
    expect 0 0 env CLQ_DEVICE="$device" "$clquant" quantize x.npy -o q.safetensors --json
    is device "$device"
    expect 0 0 env CLQ_DEVICE="$device" "$clquant" quantize x.npy -o q.safetensors --json --device cpu --threads 1
    is device cpu
    is threads 1
    expect 0 0 env CLQ_DEVICE="$device" "$clquant" devices --json
    is devices."$id".would_be_used true
    is devices."$last".would_be_used false
    is devices."$last".reason 'CLQ_DEVICE names another'
else
    echo "not tried: --device opencl:N, as no OpenCL device is here that can be used"
fi

# ---------------------------------------------------------------------------------------------- what passes through

"$make" mix.safetensors author=somebody w:F32:4x6:uniform bias:F32:6:uniform ids:I64:3:uniform wide:F64:2x2:uniform \
    flag:I8:2x2:uniform embed.w:F16:4x4:uniform scalar:F32::uniform
expect 0 0 "$clquant" quantize mix.safetensors -o q.safetensors --exclude 'embed*' --json
cp out report
for rule in 'w false' 'bias true' 'ids true' 'wide true' 'flag true' 'embed.w true' 'scalar true'; do
    says report "\"name\": \"${rule% *}\", \"passed_through\": ${rule#* }"
done
is worked_on 1
is passed_through 6
expect 0 0 "$clquant" inspect q.safetensors --json
is metadata.author somebody
is tensor_count 9
expect 0 0 "$clquant" dequantize q.safetensors -o y.safetensors
expect 0 0 "$clquant" compare mix.safetensors y.safetensors --json
says out '"name": "ids", "outcome": "identical bytes"'
says out '"name": "flag", "outcome": "identical bytes"'
expect 0 0 "$clquant" inspect y.safetensors
says out "metadata author: somebody"
! grep -q clquant out || complain "dequantize keeps clquant's metadata"

expect 0 0 "$clquant" quantize mix.safetensors -o q.safetensors --per-tensor --include 'w' --include 'b*' --json
is worked_on 2
expect 0 0 "$clquant" quantize mix.safetensors -o q.safetensors --per-tensor --json
is worked_on 4
expect 0 1 "$clquant" quantize mix.safetensors -o q.safetensors --include 'nothing*'
says err "note: mix.safetensors: no tensor was quantized"
expect 0 0 "$clquant" quantize mix.safetensors -o q.safetensors --include 'nothing*' --quiet
expect 0 0 "$clquant" compare mix.safetensors q.safetensors --json
is tensors.0.sqnr_db Infinity
expect 0 1 "$clquant" dequantize mix.safetensors -o y.safetensors
says err "no tensor was dequantized"

# A second run adds to what the first did.
expect 0 0 "$clquant" quantize mix.safetensors -o q1.safetensors --include w --dtype s4 --axis -1 --group-size 2
expect 0 0 "$clquant" quantize q1.safetensors -o q2.safetensors --per-tensor --json
says out '"name": "w", "passed_through": true, "reason": "is quantized already"'
says out '"name": "w_scale", "passed_through": true, "reason": "belongs to a quantized tensor"'
is worked_on 3
expect 0 0 "$clquant" dequantize q2.safetensors -o y.safetensors --json
is worked_on 4

# ---------------------------------------------------------------------------------------------- .npy of other types and ranks

"$make" half.npy x:F16:3x5:uniform
"$make" wide.npy x:F64:3x5:uniform
"$make" line.npy x:F32:10:uniform
"$make" empty.npy x:F32:0x4:uniform
"$make" bytes.npy x:I8:3x5:uniform
expect 0 0 "$clquant" quantize half.npy -o q.safetensors --json
is tensors.0.from f16
expect 0 1 "$clquant" quantize wide.npy -o q.safetensors --json
says err 'note: wide.npy: tensor "wide": f64 narrowed to f32'
is tensors.0.note "f64 narrowed to f32"
expect 0 0 "$clquant" quantize wide.npy -o q.safetensors --quiet
expect 0 0 "$clquant" dequantize q.safetensors -o y.npy --json --quiet
is tensors.0.to f32
expect 0 0 "$clquant" compare wide.npy y.npy
expect 0 0 "$clquant" quantize line.npy -o q.safetensors --json
is tensors.0.granularity per-tensor
expect 0 0 "$clquant" quantize line.npy -o q.safetensors --axis 0 --group-size 4 --json
is tensors.0.granularity per-group
for options in --per-tensor "--axis 0" "--axis 1" "--axis 1 --group-size 2" "--axis 0 --dtype s4"; do
    # shellcheck disable=SC2086
    expect 0 0 "$clquant" quantize empty.npy -o q.safetensors $options
    expect 0 0 "$clquant" dequantize q.safetensors -o y.npy
    same empty.npy y.npy
done
expect 1 1 "$clquant" quantize bytes.npy -o none.safetensors
says err "clquant: bytes.npy: dtype: |i1 is not f32, f16 or f64"
absent none.safetensors

# ---------------------------------------------------------------------------------------------- sharded checkpoints

mkdir shards
"$make" shards/one.safetensors w1:F32:4x4:uniform
"$make" shards/two.safetensors w2:BF16:4x4:uniform
printf '{"metadata": {"total_size": 96}, "weight_map": {"w1": "one.safetensors", "w2": "two.safetensors"}}' \
    >shards/model.safetensors.index.json
expect 0 0 "$clquant" quantize shards/model.safetensors.index.json -o q.safetensors --json
is worked_on 2
expect 0 0 "$clquant" compare shards/model.safetensors.index.json q.safetensors --json
is tensors.1.outcome compared

# ---------------------------------------------------------------------------------------------- compare

"$make" a.safetensors w:F32:4x4:uniform v:F32:4x4:uniform u:F32:2x2:uniform t:F32:2x2:uniform
"$make" b.safetensors w:F32:4x4:uniform v:F32:2x8:uniform z:F32:2x2:uniform t:I64:2x2:uniform
expect 0 0 "$clquant" compare a.safetensors b.safetensors
says out 'tensor "v": shapes differ, not compared'
says out 'tensor "u": only in the first file'
says out 'tensor "z": only in the second file'
says out 'tensor "t": types differ, not compared'
says out '1 compared, 4 not'
expect 0 0 "$clquant" compare a.safetensors b.safetensors --json
is tensors.0.name w
is tensors.1.outcome 'shapes differ, not compared'
"$make" c.safetensors other:F32:4x4:uniform more:F32:4x4:uniform
expect 1 1 "$clquant" compare a.safetensors c.safetensors
says err "has no tensor in common with"
"$make" nan.npy x:F32:8x8:nan
expect 0 0 "$clquant" compare nan.npy nan.npy
says out '1 NaN and 0 infinite values left out'

# ---------------------------------------------------------------------------------------------- Python reads what was written

python=${PYTHON:-python3}
if "$python" -c 'import numpy, safetensors.numpy' 2>/dev/null; then
    for options in "--dtype s8" "--dtype u16 --scheme asymmetric --per-tensor" "--dtype s4 --axis -1 --group-size 4"; do
        # shellcheck disable=SC2086
        expect 0 0 "$clquant" quantize x.npy -o q.safetensors $options
        expect 0 0 "$clquant" dequantize q.safetensors -o y.npy
        "$python" - <<'END' || complain "Python reads something else: $options"
import json, numpy
from safetensors import safe_open
with safe_open("q.safetensors", "np") as f:
    q, s, z = (f.get_tensor(n) for n in ("x", "x_scale", "x_zero_point"))
    m = json.loads(f.metadata()["clquant.tensor.x"])
if m["dtype"] == "s4":
    q = numpy.stack([q & 15, q >> 4], -1).reshape(-1)[:300].astype("i4")
    q = numpy.where(q > 7, q - 16, q)
q = q.reshape(m["shape"]).astype("i4")
if m["granularity"] == "per-channel":
    s, z = s[:, None], z[:, None]
if m["granularity"] == "per-group":
    s, z = (numpy.repeat(p, m["group_size"], axis=1)[:, :50] for p in (s, z))
y = (q - z).astype("f4") * s
assert m["source_dtype"] == "F32" and numpy.array_equal(y, numpy.load("y.npy"))
END
    done
else
    echo "not tried: Python with numpy and safetensors is not here"
fi

# ---------------------------------------------------------------------------------------------- examples

expect 0 0 "$builddir/examples/quickstart"
[ "$(cat out)" = "scale 0.00787402:   64 -127   32   95
scale 0.15748031:  127  -32   64   16" ] || complain "quickstart prints $(cat out)"
if [ -x "$builddir/examples/idx_to_npy" ]; then
    idx=$builddir/examples/idx_to_npy
    # Two items of 2 x 3 bytes.
    printf '\000\000\010\003\000\000\000\002\000\000\000\002\000\000\000\003' >i.idx
    printf '\000\001\002\003\004\005\377\376\375\374\373\372' >>i.idx
    gzip -c i.idx >i.gz
    expect 0 0 "$idx" i.gz i.npy
    says out "2 rows of 6"
    expect 0 0 "$clquant" inspect i.npy --json
    is tensors.0.shape '[2,6]'
    is tensors.0.dtype '<f4'
    od -An -tf4 -j128 i.npy | tr -s ' \n' ' ' >floats
    [ "$(cat floats)" = " 0 1 2 3 4 5 255 254 253 252 251 250 " ] || complain "idx_to_npy wrote $(cat floats)"
    expect 0 0 "$idx" --unit i.idx unit.npy
    expect 0 0 "$clquant" compare i.npy unit.npy
    head -c 20 i.idx >short.idx
    head -c 30 i.gz >short.gz
    (cat i.idx && printf x) >long.idx
    printf '\000\000\015\003' >float.idx
    printf '\000\000\010\003\377\377\377\377\377\377\377\377\377\377\377\377' >huge.idx
    for file in short.idx short.gz long.idx float.idx huge.idx missing.idx x.npy; do
        expect 1 1 "$idx" $file none.npy
        absent none.npy
    done
    expect 1 1 "$idx" i.gz missing/none.npy
    "$idx" i.gz >/dev/null 2>&1
    [ $? = 2 ] || complain "idx_to_npy with one operand"
fi

no_leftovers .
finish
