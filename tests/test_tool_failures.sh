#!/bin/sh
# SPDX-License-Identifier: MIT
# The program clquant when something goes wrong: broken files, names in the way, a full disk, signals, memory that runs out.
# Always one line on stderr, no new file, no temporary one, and the old file as it was.
. "${CLQ_SRCDIR:-.}/tests/tool_support.sh"
cd "$work" || exit 1
# It is the program that is tried here, not what OpenCL drivers make of a failed malloc() or a signal.
OCL_ICD_VENDORS=$work/none OPENCL_VENDOR_PATH=$work/none
export OCL_ICD_VENDORS OPENCL_VENDOR_PATH

"$make" x.npy x:F32:30x40:uniform
"$make" x.safetensors w:F32:30x40:uniform b:F32:40:uniform
expect 0 0 "$clquant" quantize x.npy -o good.safetensors --dtype s4 --axis 1 --group-size 16

# ---------------------------------------------------------------------------------------------- NaN and infinities

"$make" nan.npy x:F32:30x40:nan
"$make" inf.safetensors a:F32:3x4:uniform deep.w:BF16:30x40:inf
echo old >out.safetensors
expect 1 1 "$clquant" quantize nan.npy -o out.safetensors
says err 'clquant: nan.npy: tensor "nan": element [15,0] is NaN; elements 0 to 1199 hold 1 NaN and 0 infinite values'
expect 1 1 "$clquant" quantize inf.safetensors -o out.safetensors --per-tensor
says err 'clquant: inf.safetensors: tensor "deep.w": element [15,0] is infinite'
expect 1 1 "$small" quantize nan.npy -o out.safetensors --per-tensor
says err 'element [15,0] is NaN; elements 576 to 639 hold 1 NaN'
[ "$(cat out.safetensors)" = old ] || complain "the old file was touched"
expect 0 1 "$clquant" quantize nan.npy -o q.safetensors --allow-nonfinite --json
is tensors.0.nan 1
says err 'note: nan.npy: tensor "nan": 1 NaN and 0 infinite values quantized'
expect 0 0 "$clquant" quantize inf.safetensors -o q.safetensors --allow-nonfinite --quiet --json
is tensors.1.infinite 1
expect 0 0 "$clquant" quantize inf.safetensors -o q.safetensors --exclude 'deep.*'

# ---------------------------------------------------------------------------------------------- names, axes, places

"$make" taken.safetensors w:F32:2x2:uniform w_scale:F32:2:uniform
"$make" taken2.safetensors w:F32:2x2:uniform w_zero_point:I64:2:uniform
expect 1 1 "$clquant" quantize taken.safetensors -o out.safetensors
says err 'clquant: taken.safetensors: tensor "w": its parameters need the name "w_scale", which another tensor has'
expect 1 1 "$clquant" quantize taken2.safetensors -o out.safetensors
says err '"w_zero_point"'
expect 0 0 "$clquant" quantize taken.safetensors -o q.safetensors --exclude w --quiet
expect 1 1 "$clquant" quantize x.safetensors -o out.safetensors --axis 2
says err 'tensor "w": axis 2 is out of range, the rank is 2'
expect 1 1 "$clquant" quantize x.safetensors -o out.safetensors --axis -3
expect 1 1 "$clquant" quantize x.npy -o missing/out.safetensors
says err "missing/out.safetensors"
expect 1 1 "$clquant" quantize missing.npy -o out.safetensors
says err "clquant: missing.npy: No such file or directory"
expect 1 1 "$clquant" quantize . -o out.safetensors
expect 1 1 "$clquant" quantize x.npy -o "$work"
expect 1 1 "$clquant" quantize x.npy -o ''
expect 1 1 "$clquant" quantize '' -o out.safetensors
expect 1 1 "$clquant" dequantize x.safetensors -o y.npy
says err "clquant: y.npy: a .npy holds one tensor, x.safetensors has 2"
"$make" bf16.safetensors w:BF16:2x2:uniform
expect 0 0 "$clquant" quantize bf16.safetensors -o q.safetensors
expect 1 1 "$clquant" dequantize q.safetensors -o y.npy
absent y.npy
[ "$(cat out.safetensors)" = old ] || complain "the old file was touched"
if [ -w /dev/full ]; then
    checks=$((checks + 1))
    "$clquant" inspect x.npy >/dev/full 2>err
    [ $? = 1 ] || complain "a full standard output goes unnoticed"
    says err "clquant: standard output: No space left on device"
fi
# A name in the file may be anyone's bytes; a message stays one line without escapes for the terminal.
evil='a\n\u001b[31mb'
raw_safetensors evil.safetensors "{\"$evil\":$(tensor F32 2,2 0 16),\"${evil}_scale\":$(tensor F32 1 16 20)}" 20
expect 1 1 "$clquant" quantize evil.safetensors -o out.safetensors
expect 0 0 "$clquant" inspect evil.safetensors
[ "$(wc -l <out)" = 4 ] || complain "inspect prints a name's newline"
! grep -q "$(printf '\033')" out || complain "inspect prints a name's escape"
expect 0 0 "$clquant" inspect evil.safetensors --json
is tensor_count 2
# A device that is not there: the library's words.
expect 1 1 "$clquant" quantize x.npy -o out.safetensors --device opencl:99

# ---------------------------------------------------------------------------------------------- broken files

# The parsers have tests of their own; here each kind goes once through the program.
w="\"w\":$(tensor F32 2,2 0 16)"
raw_safetensors truncated.safetensors "{$w}" 15
raw_safetensors longer.safetensors "{$w}" 17
raw_safetensors twice.safetensors "{$w,$w}" 16
raw_safetensors hole.safetensors "{$w,\"v\":$(tensor F32 1 20 24)}" 24
raw_safetensors overlap.safetensors "{$w,\"v\":$(tensor F32 1 12 16)}" 16
raw_safetensors huge.safetensors "{\"w\":$(tensor F32 4294967296,4294967296 0 16)}" 16
raw_safetensors deep.safetensors "{\"w\":$(head -c 20000 /dev/zero | tr '\000' '[')" 16
raw_safetensors syntax.safetensors "{$w" 16
printf '\377\377\377\377\377\377\377\377{}' >header.safetensors
printf 'PK\003\004 no tensor file' >magic.npy
: >empty.npy
head -c 100 x.npy >truncated.npy
sed 's/<f4/>f4/' x.npy >big_endian.npy
sed "s/'fortran_order': False/'fortran_order': True /" x.npy >fortran.npy
for file in truncated.safetensors longer.safetensors twice.safetensors hole.safetensors overlap.safetensors huge.safetensors \
    deep.safetensors syntax.safetensors header.safetensors magic.npy empty.npy truncated.npy big_endian.npy fortran.npy; do
    for command in "quantize -o out.safetensors" "dequantize -o out.safetensors" inspect "compare x.npy"; do
        # shellcheck disable=SC2086 # options
        expect 1 1 "$clquant" $command $file
        says err "clquant: $file: "
        [ ! -s out ] || complain "$command $file prints on stdout"
    done
done
expect 1 1 "$clquant" inspect big_endian.npy
says err "big-endian"
expect 1 1 "$clquant" inspect fortran.npy
says err "Fortran"

# Metadata that does not fit the tensors: each member of a good record, broken.
quantized()
{
    raw_safetensors bad.safetensors "{\"__metadata__\":{\"clquant.tensor.w\":\"$1\"},\"w_scale\":$(tensor F32 2 0 8),
        \"w_zero_point\":$(tensor I32 2 8 16),\"w\":$(tensor U8 2,2 16 20)}" 20
}
member() # NAME VALUE: the record with another value
{
    record='\"dtype\":\"s4\",\"shape\":[2,4],\"source_dtype\":\"F32\",\"scheme\":\"symmetric\",'
    record=$record'\"granularity\":\"per-channel\",\"axis\":0,\"quotient\":\"division\",\"qmin\":-8,\"qmax\":7'
    printf '{%s}' "$(printf %s "$record" | sed -E 's/\\"'"$1"'\\":(\[[^]]*\]|[^,[]*)/\\"'"$1"'\\":'"$2"'/')"
}
quote='\\"'
quantized "$(member dtype "${quote}s4$quote")"
expect 0 0 "$clquant" inspect bad.safetensors
# The scales are zero, which is out of bounds.
expect 1 1 "$clquant" dequantize bad.safetensors -o out.safetensors
says err 'clquant: bad.safetensors: tensor "w": scale[0]'
expect 1 1 "$clquant" compare bad.safetensors bad.safetensors
for change in "dtype ${quote}s8$quote" "dtype ${quote}u5$quote" "dtype 4" "shape [2,5]" "shape [2]" "shape [2,-4]" "shape [4,2]" \
    "shape [4294967296,4294967296,4294967296]" "shape [2.5,4]" "shape 8" "source_dtype ${quote}I8$quote" \
    "scheme ${quote}other$quote" "granularity ${quote}per-row$quote" "granularity ${quote}per-tensor$quote" \
    "granularity ${quote}per-group$quote" "axis 2" "axis -1" "axis null" "axis 99999999999999999999" "quotient ${quote}${quote}" \
    "qmin -9" "qmax 8" "qmax -8" "qmin 7"; do
    quantized "$(member "${change%% *}" "${change#* }")"
    for command in inspect "dequantize -o out.safetensors" "quantize -o out.safetensors" "compare x.npy"; do
        # shellcheck disable=SC2086 # options
        expect 1 1 "$clquant" $command bad.safetensors
        grep -qE '^clquant: bad.safetensors: (metadata "clquant.tensor.w"|tensor "w(_scale)?"): ' err ||
            complain "$change: $(cat err)"
    done
done
for text in '' '[]' '{' '{}' '7' 'null' '{\"dtype\":\"s4\",\"dtype\":\"s4\"}' "$(head -c 5000 /dev/zero | tr '\000' '[')"; do
    quantized "$text"
    expect 1 1 "$clquant" inspect bad.safetensors
done
# A record for a tensor that is not there, and parameters that are missing, of another type, or shared.
good='{\"dtype\":\"s8\",\"shape\":[2,2],\"source_dtype\":\"F32\",\"scheme\":\"symmetric\",'
good=$good'\"granularity\":\"per-tensor\",\"quotient\":\"division\",\"qmin\":-128,\"qmax\":127}'
w="\"w\":$(tensor I8 2,2 0 4)"
about_w="\"clquant.tensor.w\":\"$good\""
raw_safetensors bad.safetensors "{\"__metadata__\":{\"clquant.tensor.v\":\"$good\"},$w}" 4
expect 1 1 "$clquant" inspect bad.safetensors
says err 'is about a tensor that is not there'
raw_safetensors bad.safetensors "{\"__metadata__\":{$about_w},$w}" 4
expect 1 1 "$clquant" inspect bad.safetensors
says err '"w_scale" is missing'
raw_safetensors bad.safetensors "{\"__metadata__\":{$about_w},$w,\"w_scale\":$(tensor I32 '' 4 8)}" 8
expect 1 1 "$clquant" inspect bad.safetensors
says err 'tensor "w_scale": is I32 [], must be F32 [] for "w"'
p="\"w_scale\":$(tensor F32 1 4 8),\"w_zero_point\":$(tensor I32 '' 8 12)"
raw_safetensors fine.safetensors "{\"__metadata__\":{$about_w},$w,$p}" 12
expect 0 0 "$clquant" inspect fine.safetensors
raw_safetensors bad.safetensors "{\"__metadata__\":{$about_w,\"clquant.tensor.w_scale\":\"$good\"},$w,$p}" 12
expect 1 1 "$clquant" inspect bad.safetensors

# ---------------------------------------------------------------------------------------------- a disk that is full

"$make" big.npy x:F32:1000x100:uniform
(
    ulimit -f 100 # blocks of 512 bytes
    "$clquant" quantize big.npy -o out.safetensors --dtype s16 >out 2>err
)
[ $? = 1 ] || complain "a file that grows too large: another exit status"
[ "$(wc -l <err)" = 1 ] || complain "a file that grows too large: not one line"
says err "clquant: out.safetensors: File too large"
[ "$(cat out.safetensors)" = old ] || complain "the old file was touched"
if [ "$(id -u)" = 0 ] && mkdir tiny && mount -t tmpfs -o size=64k tmpfs tiny 2>/dev/null; then
    echo old >tiny/out.safetensors
    expect 1 1 "$clquant" quantize big.npy -o tiny/out.safetensors
    says err "No space left on device"
    no_leftovers tiny
    [ "$(cat tiny/out.safetensors)" = old ] || complain "the old file was touched"
    umount tiny
else
    echo "not tried: a full disk of our own (needs root and mount)"
fi

# ---------------------------------------------------------------------------------------------- signals and large files

# A sparse file: 32 GiB of zeros that take no room. The first of two passes over it alone takes seconds and writes nothing.
bytes=34359738368
header="{\"w\":$(tensor F32 8192,1048576 0 $bytes)}"
raw_safetensors sparse.safetensors "$header" 0
if timeout --preserve-status 9 true 2>/dev/null && truncate -s $((8 + ${#header} + bytes)) sparse.safetensors 2>/dev/null; then
    for signal in INT TERM HUP; do
        number=$(case $signal in INT) echo 2 ;; TERM) echo 15 ;; HUP) echo 1 ;; esac)
        # A caller that ignores the signal keeps ignoring it.
        [ -z "$(sh -c "trap 'exit 0' $signal; kill -s $signal \$\$; echo ignored")" ] || continue
        expect $((128 + number)) 0 timeout --preserve-status -s $signal 1 \
            "$clquant" quantize sparse.safetensors -o out.safetensors --per-tensor
        no_leftovers .
        [ "$(cat out.safetensors)" = old ] || complain "the old file was touched"
    done
    # With a terminal on stderr there is a bar after a second, and nothing is left of it.
    if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1; then
        run="$clquant quantize sparse.safetensors -o out.safetensors --per-tensor"
        script -qec "timeout --preserve-status -s TERM 3 $run" /dev/null >bar 2>&1 </dev/null
        says bar 'B/s'
        says bar 'left'
        script -qec "timeout --preserve-status -s TERM 2 $run --quiet" /dev/null >bar 2>&1 </dev/null
        ! grep -q 'B/s' bar || complain "--quiet shows a bar"
    else
        echo "not tried: the progress bar (needs script(1))"
    fi
    # Larger than what is in memory at a time, to the end: 320 MiB in 80 pieces.
    bytes=335544320
    header="{\"w\":$(tensor F32 320,262144 0 $bytes)}"
    raw_safetensors sparse.safetensors "$header" 0
    truncate -s $((8 + ${#header} + bytes)) sparse.safetensors
    expect 0 0 "$clquant" quantize sparse.safetensors -o q.safetensors --dtype s4 --axis 1 --json
    is tensors.0.bytes_out 44040192
    expect 0 0 "$clquant" compare sparse.safetensors q.safetensors --json
    is tensors.0.elements 83886080
    is tensors.0.sqnr_db Infinity
    rm -f sparse.safetensors q.safetensors
else
    echo "not tried: signals and large files (need timeout(1), truncate(1) and sparse files)"
fi

# ---------------------------------------------------------------------------------------------- memory

# Every allocation of a run fails, one run for each; then that one and all after it.
"$make" m.safetensors k=v a:F32:9x20:uniform b:BF16:7:uniform c:F16:5x5:uniform
expect 0 0 "$clquant" quantize m.safetensors -o mq.safetensors --dtype s4 --axis -1 --group-size 3
fail_each()
{
    for kind in '' +; do
        n=1
        while rm -f mark mo.safetensors; do
            CLQ_FAIL_ALLOCATION=$n$kind CLQ_FAIL_MARK=mark "$small" "$@" >out 2>err
            status=$?
            checks=$((checks + 1))
            [ -e mark ] || break
            if [ $status = 0 ]; then # what failed was not needed
                [ ! -s err ] || complain "allocation $n$kind of $*: done, but it complains"
            else
                [ $status = 1 ] || complain "allocation $n$kind of $*: exit status $status"
                [ "$(wc -l <err)" = 1 ] || complain "allocation $n$kind of $*: not one line"
                case $(cat err) in
                "clquant: "*"memory"*) ;;
                *) complain "allocation $n$kind of $*: $(cat err)" ;;
                esac
                [ ! -s out ] || complain "allocation $n$kind of $*: prints on stdout"
                absent mo.safetensors
            fi
            no_leftovers .
            n=$((n + 1))
        done
        [ $status = 0 ] || complain "$*: fails without a failed allocation"
    done
}
CLQ_FAIL_ALLOCATION=1+ CLQ_FAIL_MARK=mark "$small" devices >out 2>err
if [ -e mark ]; then
    fail_each quantize m.safetensors -o mo.safetensors --axis 0 --threads 1
    fail_each quantize x.npy -o mo.safetensors --dtype s4 --axis 1 --group-size 7 --include x --threads 2
    fail_each dequantize mq.safetensors -o mo.safetensors --threads 1
    fail_each inspect mq.safetensors
    fail_each compare m.safetensors mq.safetensors --json --threads 1
    fail_each devices
    fail_each bench minmax --shape 64 --cpu scalar --threads 1
    fail_each bench convert --shape 64 --device cpu --threads 1
else
    echo "not tried: failing allocations (need the GNU C library and no sanitizer)"
fi

no_leftovers .
finish
