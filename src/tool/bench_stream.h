/* SPDX-License-Identifier: MIT */
/*
 * Loops that move bytes as fast as the machine can: which of them does, no rule tells, so bench_limits.c tries them all.
 *
 * A template. STREAM_NAME(word): a name for this instantiation. STREAM_TARGET: the attribute of its functions. stream_vector: a typedef of the vectors
 * of its registers. STREAM_PAST_CACHE(pointer, vector): stores past the cache. All are undefined at the end. Memory is aligned to 64 bytes; bytes beyond
 * the last whole 512 are left out. The sums are kept so that nothing is optimized away.
 */
#define STEP           8 /* vectors in flight */
#define STREAM_BYTES   4096
#define AHEAD_BYTES    8192
#define LINE_BYTES     64
#define VECTORS(bytes) ((int64_t)((bytes) / (int64_t)sizeof(stream_vector)))

static STREAM_TARGET void STREAM_NAME(read)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    const stream_vector *in = (const stream_vector *)from;
    stream_vector sums[STEP] = {{0}};
    for (int64_t k = 0; k + STEP <= VECTORS(bytes); k += STEP)
        for (int j = 0; j < STEP; j++)
            sums[j] ^= in[k + j];
    for (int j = 0; j < STEP; j++)
        __asm__ volatile("" : : "m"(sums[j]));
    (void)to;
}

/* As many linear streams as STEP, a page each, with a hand's breadth of prefetch. */
static STREAM_TARGET void STREAM_NAME(read_streams)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    stream_vector sums[STEP] = {{0}};
    int64_t block = 0;
    for (; block + STEP * STREAM_BYTES <= bytes; block += STEP * STREAM_BYTES) {
        for (int64_t k = 0; k < STREAM_BYTES; k += LINE_BYTES) {
            for (int j = 0; j < STEP; j++) {
                const unsigned char *line = from + block + j * STREAM_BYTES + k;
                __builtin_prefetch(line + STEP * STREAM_BYTES);
                for (int64_t v = 0; v < VECTORS(LINE_BYTES); v++)
                    sums[j] ^= ((const stream_vector *)line)[v];
            }
        }
    }
    for (int j = 0; j < STEP; j++)
        __asm__ volatile("" : : "m"(sums[j]));
    STREAM_NAME(read)(to, from + block, bytes - block);
}

static STREAM_TARGET void STREAM_NAME(write)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    stream_vector *out = (stream_vector *)to;
    const stream_vector value = *(const stream_vector *)from;
    for (int64_t k = 0; k < VECTORS(bytes); k++)
        out[k] = value;
    __asm__ volatile("" : : "r"(to) : "memory");
}

static STREAM_TARGET void STREAM_NAME(write_past)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    stream_vector *out = (stream_vector *)to;
    const stream_vector value = *(const stream_vector *)from;
    for (int64_t k = 0; k < VECTORS(bytes); k++)
        STREAM_PAST_CACHE(out + k, value);
    STREAM_FENCE();
}

static STREAM_TARGET void STREAM_NAME(copy)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    stream_vector *out = (stream_vector *)to;
    const stream_vector *in = (const stream_vector *)from;
    for (int64_t k = 0; k + STEP <= VECTORS(bytes); k += STEP) {
        stream_vector values[STEP];
        for (int j = 0; j < STEP; j++)
            values[j] = in[k + j];
        for (int j = 0; j < STEP; j++)
            out[k + j] = values[j];
    }
    __asm__ volatile("" : : "r"(to) : "memory");
}

static STREAM_TARGET void STREAM_NAME(copy_past)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    stream_vector *out = (stream_vector *)to;
    const stream_vector *in = (const stream_vector *)from;
    for (int64_t k = 0; k < VECTORS(bytes); k++) {
        __builtin_prefetch((const unsigned char *)(in + k) + AHEAD_BYTES);
        STREAM_PAST_CACHE(out + k, in[k]);
    }
    STREAM_FENCE();
}

static STREAM_TARGET void STREAM_NAME(copy_streams_past)(unsigned char *to, const unsigned char *from, int64_t bytes)
{
    int64_t block = 0;
    for (; block + STEP * STREAM_BYTES <= bytes; block += STEP * STREAM_BYTES) {
        for (int64_t k = 0; k < STREAM_BYTES; k += LINE_BYTES) {
            for (int j = 0; j < STEP; j++) {
                const int64_t line = block + j * STREAM_BYTES + k;
                __builtin_prefetch(from + line + STEP * STREAM_BYTES);
                for (int64_t v = 0; v < VECTORS(LINE_BYTES); v++)
                    STREAM_PAST_CACHE((stream_vector *)(to + line) + v, ((const stream_vector *)(from + line))[v]);
            }
        }
    }
    STREAM_FENCE();
    STREAM_NAME(copy_past)(to + block, from + block, bytes - block);
}

#undef STEP
#undef STREAM_BYTES
#undef AHEAD_BYTES
#undef LINE_BYTES
#undef VECTORS
#undef STREAM_NAME
#undef STREAM_TARGET
#undef STREAM_PAST_CACHE
#undef STREAM_FENCE
