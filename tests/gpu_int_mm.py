#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Integer matrix products by cuBLASLt, through torch._int_mm, and by clquant, in turn on one NVIDIA GPU: a Markdown table for gpu-report.sh.

    gpu_int_mm.py GPU_GEMM DEVICE [LOG2]    the program tests/gpu_gemm, the device as clquant counts, 2^LOG2 multiplications at most

Both multiply s8 by s8 to s32, weights brought to the order that suits each beforehand. 77 where there is no torch with CUDA.
"""
import statistics
import subprocess
import sys
import time

SHAPES = [(32, 4096, 4096), (64, 4096, 4096), (32, 128, 9216), (128, 1024, 1024), (200, 768, 3072), (1000, 1000, 1000), (1024, 1024, 1024),
          (2048, 2048, 2048), (4096, 4096, 4096), (8192, 8192, 8192), (16384, 16384, 16384)]
ROUNDS = 3
COLD_BYTES = 1 << 28  # of weights that take turns where M is 64 or less, as in gpu_gemm


def measure_torch(torch, m, n, k):
    """Best and median microseconds of seven runs, each of as many queued products as take 20 ms."""
    copies = 16 if m <= 64 and n * k >= COLD_BYTES // 16 else 1
    a = torch.randint(-128, 128, (m, k), dtype=torch.int8, device="cuda")
    weights = [torch.randint(-128, 128, (n, k), dtype=torch.int8, device="cuda").t() for _ in range(copies)]

    def run(calls):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for i in range(calls):
            torch._int_mm(a, weights[i % copies])
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e6 / calls

    run(3)
    calls = max(1, int(20000 / run(8)))
    times = [run(calls) for _ in range(7)]
    return min(times), statistics.median(times)


def measure_own(program, device, m, n, k):
    line = subprocess.run([program, "product", device, str(m), str(n), str(k)], check=True, capture_output=True, text=True).stdout
    best, median = line.split()
    return float(best), float(median)


def main():
    program, device = sys.argv[1:3]
    most = 1 << int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 62
    try:
        import torch
    except ImportError:
        print("Skipped: python3 has no torch.")
        return 77
    if not torch.cuda.is_available():
        print("Skipped: torch has no CUDA device.")
        return 77
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}. "
          f"s8 by s8 to s32, {ROUNDS} rounds in turn; TOPS of the medians.\n")
    print("| M x N x K | cuBLASLt best us | median us | TOPS | clquant best us | median us | TOPS | clquant / cuBLASLt |\n"
          "|---|---:|---:|---:|---:|---:|---:|---:|")
    for m, n, k in SHAPES:
        if m * n * k > most:
            continue
        try:
            pairs = [(measure_torch(torch, m, n, k), measure_own(program, device, m, n, k)) for _ in range(ROUNDS)]
        except RuntimeError as error:
            print(f"| {m}x{n}x{k} | left out: {str(error).splitlines()[0]} |")
            continue
        cells = []
        for side in range(2):
            best, median = min(pair[side][0] for pair in pairs), statistics.median(pair[side][1] for pair in pairs)
            cells += [f"{best:.1f}", f"{median:.1f}", f"{2e-6 * m * n * k / median:.4g}"]
        ratio = statistics.median(theirs[1] / ours[1] for theirs, ours in pairs)
        print(f"| {m}x{n}x{k} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
