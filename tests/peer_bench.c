/* SPDX-License-Identifier: MIT */
/*
 * clquant against oneDNN, sample by sample in turn, in one process: matrix products, and what both know of quantization.
 *
 * usage: peer_bench [gemm|elements [SECONDS]], SECONDS for each line. Built by `make tests/peer_bench` after ./configure --with-peer-bench, for
 * oneDNN 2 and 3. Both sides work with one and with two threads on the same random operands, and must agree to the bit before time is taken. A ratio
 * above 1 means that clquant is faster: that of the medians of each side's samples, and that of their minimums.
 *
 * AMX units have slow spells that come from outside: a loop in their registers runs before and after each pair of samples, and the pair is dropped
 * if it was slow.
 */
#include "config.h"

#include "tool/bench.h"
#include <clquant.h>
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#define MAX_SAMPLES    1000
#define LEAST_SAMPLES  7
#define SAMPLE_SECONDS 200e-6
#define SLOW           1.3 /* of the best time of the AMX loop */

static double seconds_a_line = 0.5;

_Noreturn static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("peer_bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Random bytes; as floats, values in [-1, 1]. */
static void *random_bytes(size_t bytes)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    unsigned char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory == NULL) fail("out of memory");
    for (size_t k = 0; k < bytes; k++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memory[k] = (unsigned char)(state >> 32);
    }
    return memory;
}

static float *random_floats(size_t count)
{
    int32_t *integers = random_bytes(4 * count);
    float *floats = (float *)(void *)integers;
    for (size_t k = 0; k < count; k++)
        floats[k] = (float)integers[k] * 0x1p-31f;
    return floats;
}

/* ---------------------------------------------------------------------------------------------- oneDNN */

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void ok(dnnl_status_t status, const char *what)
{
    if (status != dnnl_success) fail("oneDNN: %s: status %d", what, (int)status);
}

/* The two versions differ in what a memory descriptor is. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout;
#else
typedef const dnnl_memory_desc_t *layout;
#endif

static layout make_layout(int rank, const int64_t *shape, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    dnnl_dims_t dims;
    for (int k = 0; k < rank; k++)
        dims[k] = shape[k];
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_t made;
    ok(dnnl_memory_desc_create_with_tag(&made, rank, dims, type, tag), "memory descriptor");
#else
    dnnl_memory_desc_t *made = malloc(sizeof *made);
    if (made == NULL) fail("out of memory");
    ok(dnnl_memory_desc_init_by_tag(made, rank, dims, type, tag), "memory descriptor");
#endif
    return made;
}

static dnnl_memory_t make_memory(layout of, void *data)
{
    dnnl_memory_t memory;
    ok(dnnl_memory_create(&memory, of, engine, data), "memory");
    return memory;
}

static dnnl_primitive_desc_t describe_matmul(layout a, layout b, layout c)
{
    dnnl_primitive_desc_t described;
#if DNNL_VERSION_MAJOR >= 3
    ok(dnnl_matmul_primitive_desc_create(&described, engine, a, b, NULL, c, NULL), "matmul");
#else
    dnnl_matmul_desc_t operation;
    ok(dnnl_matmul_desc_init(&operation, a, b, NULL, c), "matmul");
    ok(dnnl_primitive_desc_create(&described, &operation, NULL, engine, NULL), "matmul");
#endif
    return described;
}

/* A primitive with its arguments. */
struct peer {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[4];
    int argument_count;
};

static void run_peer(void *opaque)
{
    const struct peer *peer = opaque;
    ok(dnnl_primitive_execute(peer->primitive, stream, peer->argument_count, peer->arguments), "execute");
    ok(dnnl_stream_wait(stream), "wait");
}

static void add_argument(struct peer *peer, int which, dnnl_memory_t memory)
{
    peer->arguments[peer->argument_count++] = (dnnl_exec_arg_t){which, memory};
}

/* A copy from one layout to another, multiplied by scales of f32 for each index in the dimensions of `mask`; NULL: by none. */
static struct peer make_reorder(layout from, void *source, layout to, dnnl_memory_t target, float *scales, int64_t scale_count, int mask)
{
    struct peer peer = {.argument_count = 0};
    dnnl_primitive_desc_t described;
    dnnl_primitive_attr_t attributes;
    ok(dnnl_primitive_attr_create(&attributes), "attributes");
    add_argument(&peer, DNNL_ARG_FROM, make_memory(from, source));
    add_argument(&peer, DNNL_ARG_TO, target);
#if DNNL_VERSION_MAJOR >= 3
    if (scales != NULL) {
        ok(dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_FROM, mask), "scales");
        add_argument(&peer, DNNL_ARG_ATTR_SCALES | DNNL_ARG_FROM, make_memory(make_layout(1, &scale_count, dnnl_f32, dnnl_a), scales));
    }
#else
    if (scales != NULL) ok(dnnl_primitive_attr_set_output_scales(attributes, scale_count, mask, scales), "scales");
#endif
    ok(dnnl_reorder_primitive_desc_create(&described, from, engine, to, engine, attributes), "reorder");
    ok(dnnl_primitive_create(&peer.primitive, described), "reorder");
    dnnl_primitive_desc_destroy(described);
    dnnl_primitive_attr_destroy(attributes);
    return peer;
}

static void free_peer(struct peer *peer)
{
    for (int k = 0; k < peer->argument_count; k++)
        dnnl_memory_destroy(peer->arguments[k].memory);
    dnnl_primitive_destroy(peer->primitive);
}

/* ---------------------------------------------------------------------------------------------- two sides in turn */

struct side {
    void (*run)(void *opaque);
    void *opaque;
    int64_t calls;
    double samples[MAX_SAMPLES];
};

static double sample(struct side *side)
{
    const double begun = now();
    for (int64_t k = 0; k < side->calls; k++)
        side->run(side->opaque);
    return (now() - begun) / (double)side->calls;
}

static void warm_up(struct side *side)
{
    double seconds;
    for (side->calls = 1; (seconds = sample(side)) * (double)side->calls < SAMPLE_SECONDS;)
        side->calls *= 2;
}

/* Seconds of a short loop in AMX registers; 0 without AMX. */
static double ask_amx(void)
{
    static const struct clq_bench_peak *amx;
    static bool asked;
    static unsigned char *bytes;
    unsigned char sink[64];
    for (int k = 0; k < clq_bench_peak_count && !asked; k++)
        if (strcmp(clq_bench_peaks[k].name, "amx") == 0 && clq_bench_peaks[k].is_there()) amx = &clq_bench_peaks[k];
    asked = true;
    if (amx == NULL) return 0;
    if (bytes == NULL) bytes = random_bytes(4096);
    const double begun = now();
    amx->run(10, bytes, sink);
    return now() - begun;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What a group of lines comes to. */
struct group {
    double log_medians, log_minimums;
    int lines;
};

/* Measures and prints a line; `work` is what a call does, by 1e9 the unit. */
static void compare(struct side *ours, struct side *theirs, double work, struct group *group)
{
    static double best_amx = HUGE_VAL;
    int count = 0, dropped = 0;
    warm_up(ours);
    warm_up(theirs);
    for (const double begun = now(); count < MAX_SAMPLES && (count < LEAST_SAMPLES || now() - begun < seconds_a_line);) {
        struct side *first = count % 2 == 0 ? ours : theirs, *second = count % 2 == 0 ? theirs : ours;
        const double before = ask_amx();
        first->samples[count] = sample(first);
        second->samples[count] = sample(second);
        const double after = ask_amx();
        best_amx = fmin(best_amx, fmin(before, after));
        const bool slow = fmax(before, after) > SLOW * best_amx && now() - begun < 20 * seconds_a_line;
        count += slow ? 0 : 1;
        dropped += slow ? 1 : 0;
    }
    qsort(ours->samples, (size_t)count, sizeof(double), compare_doubles);
    qsort(theirs->samples, (size_t)count, sizeof(double), compare_doubles);
    const double median = ours->samples[count / 2], their_median = theirs->samples[count / 2];
    printf("%9.1f %9.1f  %9.1f %9.1f  %7.2f %7.2f  %4d", work / median * 1e-9, work / ours->samples[0] * 1e-9, work / their_median * 1e-9,
           work / theirs->samples[0] * 1e-9, their_median / median, theirs->samples[0] / ours->samples[0], count);
    if (dropped > 0) printf(", %d dropped", dropped);
    putchar('\n');
    fflush(stdout);
    group->log_medians += log(their_median / median);
    group->log_minimums += log(theirs->samples[0] / ours->samples[0]);
    group->lines++;
}

static void print_head(const char *unit, const char *title, int threads)
{
    printf("\n%s, %d thread%s; %s: median, best of clquant, of oneDNN; ratios of medians, of bests; samples\n", title, threads,
           threads > 1 ? "s" : "", unit);
}

static void print_group(const struct group *group)
{
    printf("%-62s  %7.2f %7.2f\n", "geometric mean", exp(group->log_medians / group->lines), exp(group->log_minimums / group->lines));
}

static clq_context *open_context(int threads)
{
    clq_context *context;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.device = "cpu";
    options.num_threads = threads;
    if (clq_context_create(&options, &context) != CLQ_OK) fail("no context");
#ifdef _OPENMP
    omp_set_num_threads(threads);
#endif
    return context;
}

/* ---------------------------------------------------------------------------------------------- matrix products */

struct our_gemm {
    clq_context *context;
    clq_gemm_args arguments;
};

static void run_gemm(void *opaque)
{
    const struct our_gemm *ours = opaque;
    if (clq_gemm(ours->context, &ours->arguments) != CLQ_OK) fail("%s", clq_context_error(ours->context));
}

/* Their primitive, and weights in the layout that they prefer if `packed`. */
static struct peer make_matmul(int rank, const int64_t shapes[3][3], void *a, bool a_is_u8, void *b, int32_t *c, bool packed)
{
    struct peer peer = {.argument_count = 0};
    const dnnl_format_tag_t plain = rank == 3 ? dnnl_abc : dnnl_ab;
    const layout la = make_layout(rank, shapes[0], a_is_u8 ? dnnl_u8 : dnnl_s8, plain), lb = make_layout(rank, shapes[1], dnnl_s8, plain);
    const layout lc = make_layout(rank, shapes[2], dnnl_s32, plain);
    dnnl_primitive_desc_t described =
        describe_matmul(la, packed ? make_layout(rank, shapes[1], dnnl_s8, dnnl_format_tag_any) : lb, lc);
    const layout wanted = dnnl_primitive_desc_query_md(described, dnnl_query_weights_md, 0);
    dnnl_memory_t weights = make_memory(wanted, packed ? DNNL_MEMORY_ALLOCATE : b);
    if (packed) {
        struct peer reorder = make_reorder(lb, b, wanted, weights, NULL, 0, 0);
        run_peer(&reorder);
        dnnl_memory_destroy(reorder.arguments[0].memory);
        dnnl_primitive_destroy(reorder.primitive);
    }
    ok(dnnl_primitive_create(&peer.primitive, described), "matmul");
    add_argument(&peer, DNNL_ARG_SRC, make_memory(la, a));
    add_argument(&peer, DNNL_ARG_WEIGHTS, weights);
    add_argument(&peer, DNNL_ARG_DST, make_memory(lc, c));
    return peer;
}

static void compare_gemm(clq_context *context, const int64_t *size, bool a_is_u8, bool packed, struct group *group)
{
    static struct side ours = {.run = run_gemm}, theirs = {.run = run_peer};
    const int64_t batch = size[0], m = size[1], n = size[2], k = size[3], count = batch > 0 ? batch : 1;
    const int rank = batch > 0 ? 3 : 2;
    const int64_t all[3][3] = {{batch, m, k}, {batch, k, n}, {batch, m, n}}, flat[3][3] = {{m, k}, {k, n}, {m, n}};
    const int64_t(*shapes)[3] = batch > 0 ? all : flat;
    void *a = random_bytes((size_t)(count * m * k)), *b = random_bytes((size_t)(count * k * n));
    int32_t *our_c = random_bytes((size_t)(4 * count * m * n)), *their_c = random_bytes((size_t)(4 * count * m * n));
    const clq_tensor ta = clq_tensor_host(a_is_u8 ? CLQ_U8 : CLQ_S8, a, rank, shapes[0]), tb = clq_tensor_host(CLQ_S8, b, rank, shapes[1]);
    const clq_tensor tc = clq_tensor_host(CLQ_S32, our_c, rank, shapes[2]);
    clq_packed *weights = NULL;
    if (packed && clq_packed_create(context, &tb, &weights) != CLQ_OK) fail("%s", clq_context_error(context));
    struct our_gemm our = {context, {.a = &ta, .b = packed ? NULL : &tb, .packed_b = weights, .c = &tc}};
    struct peer peer = make_matmul(rank, shapes, a, a_is_u8, b, their_c, packed);
    run_gemm(&our);
    run_peer(&peer);
    memset(their_c, 0, sizeof *their_c);
    run_peer(&peer);
    if (memcmp(our_c, their_c, (size_t)(4 * count * m * n)) != 0) fail("results differ");
    char name[64];
    snprintf(name, sizeof name, batch > 0 ? "%lld x %lldx%lldx%lld" : "%.0lld%lldx%lldx%lld", (long long)batch, (long long)m, (long long)n,
             (long long)k);
    printf("%-22s", name);
    ours.opaque = &our;
    theirs.opaque = &peer;
    compare(&ours, &theirs, 2.0 * (double)count * (double)m * (double)n * (double)k, group);
    clq_packed_free(weights);
    free_peer(&peer);
    free(a);
    free(b);
    free(our_c);
    free(their_c);
}

static void compare_gemms(int threads)
{
    static const int64_t sizes[][4] = {{0, 1, 4096, 4096},    {0, 16, 4096, 4096},   {0, 128, 1024, 1024}, {0, 512, 512, 512},
                                       {0, 1000, 1000, 1000}, {0, 1024, 1024, 1024}, {0, 2048, 2048, 2048}, {0, 4096, 4096, 4096},
                                       {0, 32, 128, 9216},    {0, 197, 768, 3072},   {64, 128, 128, 64}};
    clq_context *context = open_context(threads);
    for (int variant = 0; variant < 4; variant++) {
        const bool a_is_u8 = variant % 2 != 0, packed = variant < 2;
        char title[64];
        struct group group = {.lines = 0};
        snprintf(title, sizeof title, "%s x s8 to s32, weights %s", a_is_u8 ? "u8" : "s8", packed ? "packed" : "not packed");
        print_head("GOPS", title, threads);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            compare_gemm(context, sizes[k], a_is_u8, packed, &group);
        print_group(&group);
    }
    clq_context_free(context);
}

/* ---------------------------------------------------------------------------------------------- element by element */

struct our_elements {
    clq_context *context;
    clq_tensor from, to;
    clq_qparams params;
    bool is_quantize;
};

static void run_elements(void *opaque)
{
    const struct our_elements *ours = opaque;
    const clq_status status = ours->is_quantize ? clq_quantize(ours->context, &ours->from, &ours->params, &ours->to, NULL)
                                                : clq_dequantize(ours->context, &ours->from, &ours->params, &ours->to);
    if (status != CLQ_OK) fail("%s", clq_context_error(ours->context));
}

/* f32 to s8 or back; `axis` of the scales, -1: one for all. They are powers of two, so that x / s and x * (1 / s) are the same. */
static void compare_elements(clq_context *context, bool is_quantize, const int64_t *shape, int axis, struct group *group)
{
    static struct side ours = {.run = run_elements}, theirs = {.run = run_peer};
    const size_t count = (size_t)(shape[0] * shape[1]), result_bytes = is_quantize ? count : 4 * count;
    const int64_t scale_count = axis < 0 ? 1 : shape[axis];
    void *from = is_quantize ? (void *)random_floats(count) : random_bytes(count), *our_to = random_bytes(4 * count), *their_to = random_bytes(4 * count);
    unsigned char *exponents = random_bytes((size_t)scale_count);
    float *scales = malloc((size_t)scale_count * sizeof *scales), *factors = malloc((size_t)scale_count * sizeof *factors);
    if (scales == NULL || factors == NULL) fail("out of memory");
    for (int64_t k = 0; k < scale_count; k++) {
        scales[k] = ldexpf(1, -6 - exponents[k] % 2);
        factors[k] = is_quantize ? 1 / scales[k] : scales[k];
    }
    struct our_elements our = {.context = context,
                               .from = clq_tensor_host(is_quantize ? CLQ_F32 : CLQ_S8, from, 2, shape),
                               .to = clq_tensor_host(is_quantize ? CLQ_S8 : CLQ_F32, our_to, 2, shape),
                               .params = {.scheme = {.dtype = CLQ_S8, .granularity = axis < 0 ? CLQ_PER_TENSOR : CLQ_PER_CHANNEL, .axis = axis < 0 ? 0 : axis},
                                          .scale = clq_tensor_host(CLQ_F32, scales, axis < 0 ? 0 : 1, &scale_count)},
                               .is_quantize = is_quantize};
    const layout f32 = make_layout(2, shape, dnnl_f32, dnnl_ab), s8 = make_layout(2, shape, dnnl_s8, dnnl_ab), to = is_quantize ? s8 : f32;
    struct peer peer = make_reorder(is_quantize ? f32 : s8, from, to, make_memory(to, their_to), factors, scale_count, axis < 0 ? 0 : 1 << axis);
    run_elements(&our);
    run_peer(&peer);
    if (memcmp(our_to, their_to, result_bytes) != 0) fail("results differ");
    printf("%-10s %-5s %4lldx%-4lld", is_quantize ? "quantize" : "dequantize", axis < 0 ? "all" : axis == 0 ? "outer" : "inner", (long long)shape[0],
           (long long)shape[1]);
    ours.opaque = &our;
    theirs.opaque = &peer;
    compare(&ours, &theirs, 5.0 * (double)count, group);
    free_peer(&peer);
    free(from);
    free(our_to);
    free(their_to);
    free(exponents);
    free(scales);
    free(factors);
}

static void compare_all_elements(int threads)
{
    static const int64_t shapes[][2] = {{25, 40}, {316, 316}, {1000, 1000}, {4096, 4096}};
    clq_context *context = open_context(threads);
    struct group group = {.lines = 0};
    print_head("GB/s", "f32 to s8 and back, one scale or one for each index of an axis", threads);
    for (int quantize = 1; quantize >= 0; quantize--)
        for (int axis = -1; axis < 2; axis++)
            for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
                compare_elements(context, quantize != 0, shapes[k], axis, &group);
    print_group(&group);
    clq_context_free(context);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    const dnnl_version_t *version = dnnl_version();
    if (argc > 2) seconds_a_line = strtod(argv[2], NULL);
    if (argc > 3 || !(seconds_a_line > 0) || (strcmp(what, "all") != 0 && strcmp(what, "gemm") != 0 && strcmp(what, "elements") != 0))
        fail("usage: peer_bench [all|gemm|elements [SECONDS]]");
    ok(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
    ok(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    printf("clquant %s, oneDNN %d.%d.%d, AMX %s\n", clq_version(), version->major, version->minor, version->patch, ask_amx() > 0 ? "yes" : "no");
    for (int threads = 1; threads <= 2; threads++) {
        if (strcmp(what, "elements") != 0) compare_gemms(threads);
        if (strcmp(what, "gemm") != 0) compare_all_elements(threads);
    }
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
    return 0;
}
