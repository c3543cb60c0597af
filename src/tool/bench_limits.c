/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at best: bandwidth by loops of its own, dot products by those of bench_peak.c, and the floor of a case that follows.
 *
 * Bandwidth depends on how many bytes are in use, so it is measured for the power of two next to the bytes of a case, not for caches, of whose sizes virtual
 * machines tell what they like. A limit is the best sample of the best of several loops.
 */
#include "config.h"

#include "tool/bench.h"
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* ---------------------------------------------------------------------------------------------- loops */

typedef uint64_t vector16 __attribute__((vector_size(16), may_alias));
#ifdef __x86_64__
#define STREAM_PAST_CACHE(pointer, vector) _mm_stream_si128((__m128i *)(pointer), (__m128i)(vector))
#define STREAM_FENCE                       _mm_sfence
#else
#define STREAM_PAST_CACHE(pointer, vector) (*(pointer) = (vector))
#define STREAM_FENCE()                     __asm__ volatile("" : : : "memory")
#endif
#define STREAM_NAME(word) base_##word
#define STREAM_TARGET
#define stream_vector vector16
#include "tool/bench_stream.h"
#undef stream_vector

#ifdef __x86_64__
typedef uint64_t vector32 __attribute__((vector_size(32), may_alias));
#define STREAM_PAST_CACHE(pointer, vector) _mm256_stream_si256((__m256i *)(pointer), (__m256i)(vector))
#define STREAM_FENCE                       _mm_sfence
#define STREAM_NAME(word)                  avx2_##word
#define STREAM_TARGET                      __attribute__((target("avx2")))
#define stream_vector                      vector32
#include "tool/bench_stream.h"
#undef stream_vector

typedef uint64_t vector64 __attribute__((vector_size(64), may_alias));
#define STREAM_PAST_CACHE(pointer, vector) _mm512_stream_si512((__m512i *)(pointer), (__m512i)(vector))
#define STREAM_FENCE                       _mm_sfence
#define STREAM_NAME(word)                  avx512_##word
#define STREAM_TARGET                      __attribute__((target("avx512f")))
#define stream_vector                      vector64
#include "tool/bench_stream.h"
#undef stream_vector
#endif

static void copy_by_libc(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    memcpy(to, from, (size_t)bytes);
}

static void write_by_libc(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    memset(to, *from, (size_t)bytes);
}

static bool has_all(void)
{
    return true;
}

#ifdef __x86_64__
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}
#endif

enum motion { READ, WRITE, COPY, MOTIONS };
static const char *const motion_names[MOTIONS] = {"read", "write", "copy"};

#define LOOPS(name, has_it)                                                                                                                \
    {READ, has_it, name##_read}, {READ, has_it, name##_read_streams}, {WRITE, has_it, name##_write}, {WRITE, has_it, name##_write_past},   \
        {COPY, has_it, name##_copy}, {COPY, has_it, name##_copy_past}, {COPY, has_it, name##_copy_streams_past}

static const struct {
    enum motion motion;
    bool (*is_there)(void);
    void (*run)(unsigned char *to, const unsigned char *from, int64_t bytes);
} loops[] = {
    LOOPS(base, has_all),
#ifdef __x86_64__
    LOOPS(avx2, has_avx2),
    LOOPS(avx512, has_avx512),
#endif
    {WRITE, has_all, write_by_libc},
    {COPY, has_all, copy_by_libc},
};

/* ---------------------------------------------------------------------------------------------- bandwidth */

#define LIMIT_SECONDS  (CLQ_TOOL_BENCH_SECONDS / 3) /* for the samples of one loop */
#define SAMPLE_SECONDS (LIMIT_SECONDS / 10)
#define LEAST_SAMPLES  5

#define MOST_THREADS 1024 /* that a context has */

/* The same work on every thread, from when all are there. */
struct team {
    struct clq_tool_workers workers;
    int32_t num_threads;
    atomic_int arrived;
    double seconds[MOST_THREADS];
    int64_t rounds;
    int loop; /* bandwidth: the loop, each thread's part of the memory, and how it lies */
    unsigned char *memory;
    int64_t part_bytes, to_offset;
    const struct clq_bench_peak *peak;
};

static void run_part(void *argument, int64_t index)
{
    struct team *team = argument;
    unsigned char *part = team->memory + index * team->part_bytes, sink[64];
    const bool copies = team->peak == NULL && loops[team->loop].motion == COPY;
    atomic_fetch_add(&team->arrived, 1);
    while (atomic_load(&team->arrived) < team->num_threads)
        sched_yield();
    const double begun = clq_tool_now();
    if (team->peak != NULL) team->peak->run(team->rounds, part, sink);
    for (int64_t k = 0; team->peak == NULL && k < team->rounds; k++)
        loops[team->loop].run(part + (copies ? team->to_offset : 0), part, copies ? team->part_bytes / 2 : team->part_bytes);
    team->seconds[index] = clq_tool_now() - begun;
}

/* The seconds of the slowest. */
static double time_rounds(struct team *team, int64_t rounds)
{
    double seconds = 0;
    team->rounds = rounds;
    atomic_store(&team->arrived, 0);
    clq_tool_workers_run(&team->workers, team->num_threads, run_part, team);
    for (int32_t k = 0; k < team->num_threads; k++)
        seconds = fmax(seconds, team->seconds[k]);
    return seconds;
}

/* With fewer threads if the system gives no more: they wait for each other. */
static void start_team(struct team *team)
{
    clq_tool_workers_start(&team->workers, team->num_threads - 1);
    team->num_threads = team->workers.count + 1;
}

/* Seconds of a round: all samples. */
static void time_team(struct team *team, struct clq_bench_samples *samples)
{
    int64_t rounds = 1;
    double seconds = time_rounds(team, 1);
    while (seconds < SAMPLE_SECONDS) {
        rounds *= 2;
        seconds = time_rounds(team, rounds);
    }
    const double end = clq_tool_now() + LIMIT_SECONDS;
    samples->count = 0;
    while (samples->count < LEAST_SAMPLES || (clq_tool_now() < end && samples->count < (int)(sizeof samples->seconds / sizeof *samples->seconds)))
        samples->seconds[samples->count++] = time_rounds(team, rounds) / (double)rounds;
    clq_bench_sort(samples);
}

/* The row of a limit; `work` is what a sample moves or computes. Its rate is the best. */
static bool add_limit(struct clq_bench *bench, const struct clq_bench_place *place, const char *variant, double work, const char *unit,
                      const struct clq_bench_samples *samples)
{
    struct clq_bench_row *row = clq_bench_add_row(bench);
    if (row == NULL) return false;
    snprintf(row->op, sizeof row->op, "limit");
    snprintf(row->variant, sizeof row->variant, "%s", variant);
    snprintf(row->device, sizeof row->device, "%s", place->device);
    row->num_threads = place->num_threads;
    row->median = clq_bench_quantile(samples, 0.5);
    row->least = samples->seconds[0];
    row->spread = (clq_bench_quantile(samples, 0.75) - clq_bench_quantile(samples, 0.25)) / row->median;
    row->rate = work / row->least * 1e-9;
    row->unit = unit;
    row->share = 1;
    return true;
}

static bool measure_motion(struct clq_bench *bench, struct clq_bench_place *place, struct team *team, enum motion motion, double *rate)
{
    struct clq_bench_samples best = {.count = 0}, samples;
    const int64_t bytes = team->part_bytes * team->num_threads;
    for (team->loop = 0; team->loop < (int)(sizeof loops / sizeof *loops); team->loop++) {
        if (loops[team->loop].motion != motion || !loops[team->loop].is_there()) continue;
        time_team(team, &samples);
        if (best.count == 0 || samples.seconds[0] < best.seconds[0]) best = samples;
    }
    *rate = (double)bytes / best.seconds[0];
    if (!add_limit(bench, place, motion_names[motion], (double)bytes, "GB/s", &best)) return false;
    snprintf(bench->rows[bench->row_count - 1].shape, sizeof bench->rows->shape, "%" PRId64, bytes);
    return true;
}

/* The power of two next to the bytes, by their ratio. */
static int level_of(int64_t bytes)
{
    const int level = bytes > BENCH_CACHED_BYTES ? 28 : (int)floor(log2((double)bytes) + 0.5);
    return level < 11 ? 11 : level;
}
_Static_assert(BENCH_MEMORY_BYTES == 1 << 28, "the level of memory");

/* On a device: a copy of a large buffer, whatever the size. */
static bool measure_device(struct clq_bench *bench, struct clq_bench_place *place)
{
    const int64_t half = BENCH_MEMORY_BYTES / 2, count = half / 4;
    struct clq_bench_samples samples = {.count = 0};
    clq_buffer *buffer = NULL;
    clq_status status = clq_buffer_create(place->context, 2 * half, &buffer);
    const clq_tensor from = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &count), to = clq_tensor_buffer(CLQ_F32, buffer, count, 1, &count);
    for (int k = 0; k < LEAST_SAMPLES + 2 && status == CLQ_OK; k++) {
        const double begun = clq_tool_now();
        status = clq_convert(place->context, &from, &to);
        if (status == CLQ_OK) status = clq_context_synchronize(place->context);
        if (k >= 2) samples.seconds[samples.count++] = clq_tool_now() - begun;
    }
    clq_buffer_free(buffer);
    if (status != CLQ_OK) return clq_tool_fail(place->device, "limit", "%s", clq_context_error(place->context));
    clq_bench_sort(&samples);
    place->limits->copy[0] = (double)BENCH_MEMORY_BYTES / samples.seconds[0];
    if (!add_limit(bench, place, motion_names[COPY], (double)BENCH_MEMORY_BYTES, "GB/s", &samples)) return false;
    snprintf(bench->rows[bench->row_count - 1].shape, sizeof bench->rows->shape, "%" PRId64, BENCH_MEMORY_BYTES);
    return true;
}

bool clq_bench_measure_limits(struct clq_bench *bench, struct clq_bench_place *place, int64_t bytes)
{
    struct clq_bench_limits *limits = place->limits;
    struct team team = {.num_threads = place->num_threads};
    const int level = level_of(bytes);
    if (place->is_device) return limits->copy[0] > 0 || measure_device(bench, place);
    if (limits->read[level] > 0) return true;
    team.part_bytes = ((int64_t)1 << level) / place->num_threads / 1024 * 1024;
    if (team.part_bytes == 0) team.part_bytes = 1024;
    team.to_offset = team.part_bytes / 2;
    team.memory = aligned_alloc(4096, ((size_t)(team.part_bytes * team.num_threads) + 4095) / 4096 * 4096);
    if (team.memory == NULL) return clq_tool_fail_memory();
    clq_bench_random_bytes(team.memory, (size_t)(team.part_bytes * team.num_threads), 1);
    start_team(&team);
    const bool done = measure_motion(bench, place, &team, READ, &limits->read[level]) &&
                      measure_motion(bench, place, &team, WRITE, &limits->write[level]) &&
                      measure_motion(bench, place, &team, COPY, &limits->copy[level]);
    clq_tool_workers_stop(&team.workers);
    free(team.memory);
    return done;
}

/* ---------------------------------------------------------------------------------------------- dot products */

bool clq_bench_measure_peak(struct clq_bench *bench, struct clq_bench_place *place)
{
    struct clq_bench_samples samples;
    struct team team = {.num_threads = place->num_threads, .part_bytes = 4096};
    bool done = true;
    if (place->is_device || place->limits->peak > 0) return true;
    team.memory = aligned_alloc(4096, (size_t)(4096 * team.num_threads));
    if (team.memory == NULL) return clq_tool_fail_memory();
    clq_bench_random_bytes(team.memory, (size_t)(4096 * team.num_threads), 1);
    start_team(&team);
    for (int k = 0; k < clq_bench_peak_count && done; k++) {
        const double operations = clq_bench_peaks[k].operations * team.num_threads;
        if (!clq_bench_peaks[k].is_there()) continue;
        team.peak = &clq_bench_peaks[k];
        time_team(&team, &samples);
        place->limits->peak = fmax(place->limits->peak, operations / samples.seconds[0]);
        done = add_limit(bench, place, "dot products", operations, "GOPS", &samples);
        if (done) snprintf(bench->rows[bench->row_count - 1].cpu, sizeof bench->rows->cpu, "%s", clq_bench_peaks[k].name);
    }
    clq_tool_workers_stop(&team.workers);
    free(team.memory);
    return done;
}

/* ---------------------------------------------------------------------------------------------- floor */

double clq_bench_floor(const struct clq_bench_place *place, const struct clq_bench_data *data)
{
    const struct clq_bench_limits *limits = place->limits;
    const double in = (double)data->bytes_read, out = (double)data->bytes_written, both = fmin(in, out);
    if (place->is_device) return data->c->operations > 0 ? 0 : (in + out) / limits->copy[0];
    const int level = level_of(data->bytes_read + data->bytes_written);
    const double moving = 2 * both / limits->copy[level] + (in - both) / limits->read[level] + (out - both) / limits->write[level];
    return data->c->operations > 0 ? fmax(moving, data->c->operations / limits->peak) : moving;
}
