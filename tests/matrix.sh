#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The other builds: compilers, sanitizers, switches, other processors under qemu, fuzzing, packaging. One row a build.
#
#   tests/matrix.sh [ROW...]      all rows unless some are named; `./setup build` first, it makes configure
#
# Each row has a folder of its own outside the tree and prints PASS, FAIL or SKIP with its seconds; its log stays in build/matrix/.
# A row that lacks a tool is skipped and says which. The last line is "matrix: N passed, N failed, N skipped", where tests that
# a row skipped count as skipped too.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
logs=$top/build/matrix
jobs=$(nproc 2>/dev/null || echo 2)
all_rows=(gcc qemu-x86 rusticl oclgrind units qemu-aarch64 clang asan-ubsan tsan scalar no-openmp no-jansson fuzz offline-kernels distcheck
    distcheck-no-opencl doc setup)
unset CC CXX CPP CFLAGS CPPFLAGS LDFLAGS LIBS MAKEFLAGS CLQ_DEVICE CLQ_CPU CLQ_GEMM_UNIT CLQ_NUM_THREADS OMP_NUM_THREADS CLQ_CACHE_DIR POCL_CACHE_DIR
export CLQ_TEST_QUICK=1
# For rows whose point is not the optimizer: a third of the time to compile. --disable-shared halves it again, as libtool makes no
# object twice.
quick_build="-O1 -g"

# ------------------------------------------------------------------------------------------------ what rows are made of
# A row is a function that runs in a subshell, in its own folder, with errexit and pipefail set and its output in its log.

# Ends a row that cannot run here.
skip()
{
    echo "$*" >"$notes"
    exit 77
}

need()
{
    local tool
    for tool; do
        command -v "$tool" >/dev/null || skip "no $tool"
    done
}

# A line for the row's report.
note()
{
    [ -z "$*" ] || echo "$*" | tee -a "$notes"
}

configure()
{
    "$top/configure" -q "$@"
}

# make check, and a count of the tests that were skipped.
check()
{
    local status=0
    make -j"$jobs" check VERBOSE=1 "$@" || status=$?
    awk '/^# SKIP:/ { n += $3 } END { print n + 0 }' test-suite.log 2>/dev/null >"$skipped"
    return $status
}

build_and_check()
{
    configure "$@"
    make -j"$jobs"
    check
}

# Skips unless a program built with these sanitizers runs here: `sanitizer_works COMPILER LIST`.
sanitizer_works()
{
    echo 'int main(void) { return 0; }' >probe.c
    if ! "$1" "-fsanitize=$2" probe.c -o probe || ! ./probe; then
        skip "$1 -fsanitize=$2 does not work here"
    fi
}

# ------------------------------------------------------------------------------------------------ rows
row_gcc()
{
    need gcc
    build_and_check CC=gcc --enable-werror
}

row_clang()
{
    need clang
    build_and_check CC=clang --enable-werror
}

row_asan_ubsan()
{
    local cc=gcc
    ! command -v clang >/dev/null || cc=clang
    sanitizer_works $cc address,undefined
    configure CC=$cc CFLAGS="$quick_build" --disable-shared --enable-sanitizers=address,undefined
    make -j"$jobs"
    # First without OpenCL drivers, then its tests with the one that does not crash when it is loaded: its compiler leaks, so leaks are only
    # looked for in the first.
    # The leak checker of clang 14 guesses where libraries' thread-local memory lies from the bytes before it, and may fall over what it finds.
    ASAN_OPTIONS=intercept_tls_get_addr=0 OCL_ICD_VENDORS=/nonexistent check
    # shellcheck disable=SC2016 # make expands it
    OCL_ICD_VENDORS=pocl.icd ASAN_OPTIONS=detect_leaks=0 check TESTS='$(filter tests/opencl_% tests/test_opencl%,$(unit_tests))'
}

row_tsan()
{
    local cc=gcc unrandomized=
    ! command -v clang >/dev/null || cc=clang
    # ThreadSanitizer maps fixed addresses, which newer kernels' address randomization runs into.
    ! setarch -R true 2>/dev/null || unrandomized="setarch -R"
    need $cc
    echo 'int main(void) { return 0; }' >probe.c
    if ! $cc -fsanitize=thread probe.c -o probe || ! $unrandomized ./probe; then
        skip "$cc -fsanitize=thread does not work here"
    fi
    # Threads of a driver and of the BLAS library, which are not compiled for it, are none of its business.
    note "without OpenCL"
    configure CC=$cc CFLAGS="$quick_build" --disable-shared --enable-sanitizers=thread --disable-openmp --without-opencl
    make -j"$jobs"
    OPENBLAS_NUM_THREADS=1 check LOG_COMPILER="$unrandomized" SH_LOG_COMPILER="$unrandomized sh"
}

row_scalar()
{
    build_and_check --enable-werror --disable-simd --without-opencl
}

row_no_openmp()
{
    build_and_check CFLAGS="$quick_build" --disable-shared --enable-werror --disable-openmp --without-opencl
}

row_no_jansson()
{
    build_and_check CFLAGS="$quick_build" --disable-shared --enable-werror --without-jansson --without-opencl
}

# Prints which tables `clquant devices` finds when it is run by the given command.
note_tables()
{
    note "$("$@" devices | sed -n 's/^ *tables */tables: /p')"
}

# The very programs that the row gcc has tested, if it has run; else their like.
use_gcc_build()
{
    if [ -e ../gcc/test-suite.log ]; then
        cd ../gcc
    else
        configure CC=gcc --enable-werror
        make -j"$jobs"
    fi
}

# On Mesa's OpenCL for the CPU, which compiles, rounds and flushes in its own ways. It takes minutes to compile the quantize and error_stats programs of
# all dtype pairs; of these the known results are enough.
row_rusticl()
{
    [ -e /etc/OpenCL/vendors/rusticl.icd ] || skip "no rusticl.icd (mesa-opencl-icd)"
    export RUSTICL_ENABLE=llvmpipe OCL_ICD_VENDORS=rusticl.icd CK_DEFAULT_TIMEOUT=400
    use_gcc_build
    ./clquant devices 2>/dev/null | grep -q llvmpipe || skip "rusticl has no llvmpipe device"
    check TESTS='tests/opencl_convert tests/opencl_qparams'
    export CK_RUN_CASE="known results"
    check TESTS='tests/opencl_quantize tests/opencl_error_stats tests/opencl_gemm'
    note "opencl_quantize, opencl_error_stats, opencl_gemm: known results alone"
}

# Under a device that watches every access.
row_oclgrind()
{
    need oclgrind
    use_gcc_build
    local status=0
    "$top/tests/oclgrind.sh" . | tee oclgrind.log || status=$?
    note "$(tail -n 1 oclgrind.log)"
    return $status
}

# Matrix products by units that are emulated, and by tiles that processors otherwise do not take.
row_units()
{
    use_gcc_build
    export OCL_ICD_VENDORS=pocl.icd CK_RUN_CASE="against the reference" CK_DEFAULT_TIMEOUT=400
    ./clquant devices 2>/dev/null | grep -q pthread || skip "no PoCL"
    make tests/opencl_gemm
    sed -n 's/^ *{\?"\([a-z0-9-]*\(emulated\|wide\)\)",.*/\1/p' "$top/src/opencl/cl_unit.c" >units
    # shellcheck disable=SC2016 # the inner shell expands it
    xargs -P "$jobs" -n 1 sh -c 'CLQ_GEMM_UNIT=$1 tests/opencl_gemm >"$1.log" 2>&1 || { cat "$1.log"; exit 1; }' sh <units
    note "$(tr '\n' ' ' <units)"
}

# For processors that are not here.
row_offline_kernels()
{
    local status=0
    "$top/tests/offline_kernels.sh" | tee offline.log || status=$?
    note "$(grep '^skipped' offline.log)"
    note "$(tail -n 1 offline.log)"
    return $status
}

row_qemu_x86()
{
    [ "$(uname -m)" = x86_64 ] || skip "this machine is no x86-64"
    need qemu-x86_64
    use_gcc_build
    # Nehalem (2008): SSE4.2, no AVX. An instruction beyond it that is not behind a check ends a test.
    note_tables ./libtool --mode=execute qemu-x86_64 -cpu Nehalem ./clquant
    # An OpenCL driver that compiles for the processor would be emulated too, for much longer than the tests take; and a process in which it has
    # started threads does not survive a fork in this emulator.
    export OCL_ICD_VENDORS=/nonexistent
    # OpenBLAS takes the emulated processor for a later one.
    export OPENBLAS_CORETYPE=Nehalem
    # shellcheck disable=SC2016 # make expands it
    check TESTS='$(filter-out tests/opencl_% tests/test_opencl%,$(unit_tests))' LOG_COMPILER="qemu-x86_64 -cpu Nehalem"
}

# Unpacks the distribution's arm64 build of Check, jansson and zlib into ./sysroot, by an apt of its own.
make_arm64_sysroot()
{
    mkdir -p apt/state apt/lists/partial apt/archives/partial sysroot
    cp -r /etc/apt/sources.list /etc/apt/sources.list.d apt/ 2>/dev/null || :
    # Ubuntu keeps arm64 apart.
    find apt -name '*.list' -o -name '*.sources' | while read -r file; do
        sed -i -E 's,https?://[a-z.]*(archive|security)\.ubuntu\.com/ubuntu/?,http://ports.ubuntu.com/ubuntu-ports/,g' "$file"
    done
    : >apt/status
    cat >apt/apt.conf <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::Etc::sourcelist "$PWD/apt/sources.list";
Dir::Etc::sourceparts "$PWD/apt/sources.list.d";
Dir::State "$PWD/apt/state";
Dir::State::Lists "$PWD/apt/lists";
Dir::State::status "$PWD/apt/status";
Dir::Cache::Archives "$PWD/apt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END
    export APT_CONFIG=$PWD/apt/apt.conf
    apt-get -qq update || echo "some package lists are missing"
    apt-get -qq install -y --download-only --no-install-recommends check libjansson-dev zlib1g-dev || return 1
    unset APT_CONFIG
    local package
    for package in apt/archives/{check,libsubunit,libjansson,zlib1g}*.deb; do
        dpkg -x "$package" sysroot
    done
}

row_qemu_aarch64()
{
    local triplet=aarch64-linux-gnu qemu
    [ "$(uname -m)" != aarch64 ] || skip "this machine is an aarch64: the other rows ran on it"
    need qemu-aarch64 $triplet-gcc apt-get dpkg
    make_arm64_sysroot || skip "no arm64 packages of Check and jansson to be had"
    qemu="qemu-aarch64 -L /usr/$triplet -E LD_LIBRARY_PATH=$PWD/sysroot/usr/lib/$triplet:$PWD/sysroot/lib/$triplet"
    PKG_CONFIG=pkg-config PKG_CONFIG_LIBDIR=$PWD/sysroot/usr/lib/$triplet/pkgconfig PKG_CONFIG_SYSROOT_DIR=$PWD/sysroot configure \
        --host=$triplet --enable-werror --disable-shared --without-opencl --without-clblast --without-blas
    make -j"$jobs"
    # shellcheck disable=SC2086
    note_tables $qemu ./clquant
    # shellcheck disable=SC2016 # make expands it
    check TESTS='$(unit_tests)' LOG_COMPILER="$qemu"
}

row_fuzz()
{
    need clang
    sanitizer_works clang fuzzer-no-link,address,undefined
    configure CC=clang CFLAGS="$quick_build" --disable-shared --enable-fuzzing --enable-sanitizers=address,undefined --disable-openmp --disable-simd
    make -j"$jobs"
    make -j2 fuzz 2>&1 | tee fuzz.log
    note "inputs tried: $(awk '/^stat::number_of_executed_units/ { n += $2 } END { print n }' fuzz.log)"
}

row_distcheck()
{
    configure --with-opencl=yes || skip "no OpenCL headers or library"
    make -j"$jobs" distcheck VERBOSE=1 DISTCHECK_CONFIGURE_FLAGS="CFLAGS=-O1 --enable-werror --with-opencl=yes"
}

row_distcheck_no_opencl()
{
    configure
    make -j"$jobs" distcheck VERBOSE=1 DISTCHECK_CONFIGURE_FLAGS="CFLAGS=-O1 --enable-werror --without-opencl --without-clblast --without-blas"
}

row_doc()
{
    need doxygen
    configure
    make doc
}

# A second ./setup installs, configures and compiles nothing.
row_setup()
{
    cd "$top"
    ./setup build
    touch build/setup-stamp
    sleep 1
    ./setup build >"$notes.out" 2>&1
    cat "$notes.out"
    if grep -E 'installing|configuring| (CC|CCLD) ' "$notes.out"; then return 1; fi
    [ -z "$(find build -type f -newer build/setup-stamp ! -path 'build/matrix/*' -print | tee /dev/stderr)" ]
}

# ------------------------------------------------------------------------------------------------ run them
if [ ! -x "$top/configure" ]; then
    echo "matrix: $top/configure is missing: run ./setup build first" >&2
    exit 1
fi
mkdir -p "$logs"
work=$(mktemp -d)
# Kernels are compiled once for all rows, or for whoever has set these before, not once a row.
export CLQ_TEST_CACHE=${CLQ_TEST_CACHE:-$work/cache}
export XDG_CACHE_HOME=$CLQ_TEST_CACHE # for what is not run by make check
mkdir -p "$XDG_CACHE_HOME"
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
passed=0 failed=0 skips=0
[ $# -gt 0 ] || set -- "${all_rows[@]}"
for row; do
    if ! declare -F "row_${row//-/_}" >/dev/null; then
        echo "matrix: no row $row; there are: ${all_rows[*]}" >&2
        exit 2
    fi
done
for row; do
    start=$SECONDS
    log=$logs/$row.log notes=$work/$row.notes skipped=$work/$row.skipped
    mkdir "$work/$row"
    : >"$notes"
    (
        cd "$work/$row" || exit
        set -eo pipefail
        "row_${row//-/_}"
    ) >"$log" 2>&1 </dev/null
    status=$?
    seconds=$((SECONDS - start))
    case $status in
    0)
        passed=$((passed + 1))
        echo "PASS $row $seconds s"
        ;;
    77)
        skips=$((skips + 1))
        echo "SKIP $row $seconds s"
        ;;
    *)
        failed=$((failed + 1))
        echo "FAIL $row $seconds s; the end of $log:"
        tail -n 60 "$log" | sed 's/^/    | /'
        ;;
    esac
    sed 's/^/    /' "$notes"
    if [ -s "$skipped" ] && [ "$(cat "$skipped")" -gt 0 ]; then
        echo "    $(cat "$skipped") of its tests skipped"
        skips=$((skips + $(cat "$skipped")))
    fi
    chmod -R u+w "$work/$row" # distcheck leaves read-only files
    [ "$row" = gcc ] || rm -rf "${work:?}/$row"
done
echo "matrix: $passed passed, $failed failed, $skips skipped"
[ $failed = 0 ]
