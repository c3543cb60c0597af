/* SPDX-License-Identifier: MIT */
/* What the tests of the library share; see the header. */
#include "config.h"

#include "test_support.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#ifdef CLQ_WITH_OPENCL
#include "opencl/cl_device.h"
#endif
#include <errno.h>
#include <fenv.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- running */

static char note[1024], place_note[128];
static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction crash_actions[TEST_COUNT_OF(crash_signals)];

/* Says what was being tried, then lets the fault happen again under the action that was there before (a sanitizer's, or none). */
static void on_crash(int signal_number)
{
    static const char lead[] = "crash while trying: ";
    ssize_t written = write(STDERR_FILENO, lead, sizeof lead - 1);
    written += write(STDERR_FILENO, note, strnlen(note, sizeof note));
    written += write(STDERR_FILENO, " ", 1);
    written += write(STDERR_FILENO, place_note, strnlen(place_note, sizeof place_note));
    written += write(STDERR_FILENO, "\n", 1);
    (void)written;
    for (size_t i = 0; i < TEST_COUNT_OF(crash_signals); i++)
        if (crash_signals[i] == signal_number) sigaction(signal_number, &crash_actions[i], NULL);
}

static void print_tables(void)
{
    printf("tables on this machine:");
    for (int32_t i = 0; i < test_table_count(); i++)
        printf(" %s", test_table(i)->ops->name);
    printf("; %s form\n", test_quick() ? "quick" : "full");
    fflush(stdout);
}

static SRunner *start(Suite *suite)
{
    const struct sigaction action = {.sa_handler = on_crash};
    for (size_t i = 0; i < TEST_COUNT_OF(crash_signals); i++)
        sigaction(crash_signals[i], &action, &crash_actions[i]);
    print_tables();
    return srunner_create(suite);
}

static int run(SRunner *runner)
{
    int failed;
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#ifdef CLQ_WITH_OPENCL
/* The numbers of the OpenCL devices to be tried. */
static int32_t find_devices(int32_t numbers[TEST_PLACES / 2])
{
    struct clq_cl_device *devices = NULL;
    int32_t count = 0, n = 0;
    TEST_CHECK(clq_cl_devices_find(&clq_allocator_libc, &devices, &count) == CLQ_OK, "the list of devices");
    for (int32_t i = 0; i < count && n < TEST_PLACES / 2; i++)
        if (devices[i].refusal[0] == '\0' && test_device_wanted(i)) numbers[n++] = i;
    clq_dealloc(&clq_allocator_libc, devices);
    return n;
}

/* Whether there are any. Another process looks: OpenCL would not survive Check's forks. */
static bool has_device(void)
{
    const pid_t child = fork();
    int status = 0;
    if (child == 0) {
        int32_t numbers[TEST_PLACES / 2];
        _exit(find_devices(numbers) > 0 ? 0 : 1);
    }
    return child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 1;
}

int test_run_opencl(Suite *suite)
{
    SRunner *const runner = start(suite);
    if (has_device()) return run(runner);
    printf("skipped: no OpenCL device\n");
    srunner_free(runner);
    return 77;
}
#endif

int test_run(Suite *suite)
{
#ifdef TEST_OPENCL
    return test_run_opencl(suite);
#else
    return run(start(suite));
#endif
}

TCase *test_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 600); /* OpenCL drivers compile for long */
    suite_add_tcase(suite, tcase);
    return tcase;
}

bool test_quick(void)
{
    const char *text = getenv("CLQ_TEST_QUICK");
    return text != NULL && *text != '\0' && strcmp(text, "0") != 0;
}

bool test_device_wanted(int32_t n)
{
    const char *text = getenv("CLQ_TEST_DEVICE");
    return text == NULL || *text == '\0' || strtol(text, NULL, 10) == n;
}

int64_t test_amount(int64_t full, int64_t quick)
{
    return test_quick() ? quick : full;
}

void test_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(note, sizeof note, format, arguments);
    va_end(arguments);
}

void test_note_place(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(place_note, sizeof place_note, format, arguments);
    va_end(arguments);
}

void test_make_folder(char *path)
{
    const char *const parent = getenv("TMPDIR");
    snprintf(path, 256, "%s/clquant-test-XXXXXX", parent != NULL && *parent == '/' ? parent : "/tmp");
    TEST_CHECK(mkdtemp(path) != NULL, "mkdtemp: %s: %s", path, strerror(errno));
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

void test_remove_folder(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void test_fail(const char *file, int line, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_abort_msg("%s:%d: %s\n    while trying: %s %s", file, line, text, note, place_note);
    abort();
}

/* ---- random values */

struct test_random test_random_start(uint64_t salt)
{
    const char *text = getenv("CLQ_TEST_SEED");
    struct test_random random;

    random.seed = text != NULL ? strtoull(text, NULL, 0) : 1;
    random.state = random.seed * 0x9e3779b97f4a7c15u ^ (salt + 1) * 0xd1b54a32d192ed03u;
    test_note("seed %" PRIu64, random.seed);
    (void)test_next(&random);
    return random;
}

/* SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
uint64_t test_next(struct test_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int64_t test_between(struct test_random *random, int64_t least, int64_t most)
{
    const uint64_t choices = (uint64_t)most - (uint64_t)least + 1;
    return (int64_t)((uint64_t)least + (choices == 0 ? test_next(random) : test_next(random) % choices));
}

bool test_chance(struct test_random *random, int32_t one_in)
{
    return test_between(random, 1, one_in) == 1;
}

uint32_t test_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float test_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

const uint32_t test_special_floats[] = {
    0x00000000, 0x80000000,                                                             /* zeros */
    0x00000001, 0x80000001, 0x000fffff, 0x00400000, 0x007fffff, 0x807fffff,             /* denormals */
    0x00800000, 0x80800000, 0x00800001, 0x01000000,                                     /* least normals */
    0x7f7fffff, 0xff7fffff, 0x7f000000, 0xff000000, 0x7e800000,                         /* largest */
    0x7f800000, 0xff800000,                                                             /* infinities */
    0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fa00000, /* NaN, quiet and signaling */
    0x3f000000, 0xbf000000, 0x3effffff, 0x3f000001, 0x3f800000, 0xbf800000, 0x3fc00000, /* 0.5 and neighbours, 1, 1.5 */
    0x4b000000, 0x4affffff, 0x4b800000, 0xcb800000,                                     /* 2^23, 2^24 */
    0x4effffff, 0x4f000000, 0x4f000001, 0xceffffff, 0xcf000000, 0xcf000001,             /* 2^31 */
    0x4f800000, 0x5effffff, 0x5f000000, 0xdf000000, 0x50800000, 0x50ffffff, 0x51000000, /* 2^32, 2^63, 2^34 */
    0x33000000, 0x33000001, 0x33800000, 0x38800000, 0x387fffff, 0x387fe000, 0x477fefff, 0x477ff000, 0x47800000, /* around f16 */
    0x0d800000, 0x71800000, /* 2^-100, 2^100 */
};
const int32_t test_special_float_count = TEST_COUNT_OF(test_special_floats);

static uint32_t random_special(struct test_random *random)
{
    return test_special_floats[test_between(random, 0, test_special_float_count - 1)];
}

/* Mantissas that are hard for a division made of multiplications. */
static uint32_t random_mantissa(struct test_random *random)
{
    switch (test_between(random, 0, 6)) {
    case 0:
        return 0;
    case 1:
        return 0x7fffff;
    case 2:
        return (uint32_t)test_between(random, 1, 16);
    case 3:
        return 0x7fffff - (uint32_t)test_between(random, 1, 16);
    default:
        return (uint32_t)test_between(random, 0, 0x7fffff);
    }
}

uint32_t test_random_scale(struct test_random *random)
{
    const uint32_t least = 0x0d800000, most = 0x71800000;
    switch (test_between(random, 0, 9)) {
    case 0:
        return test_chance(random, 2) ? least : most;
    case 1:
        return least + (uint32_t)test_between(random, 0, 3 << 23);
    case 2:
        return most - (uint32_t)test_between(random, 0, 3 << 23);
    case 3:
        return (uint32_t)test_between(random, 27, 226) << 23 | random_mantissa(random);
    case 4:
        return (uint32_t)test_between(random, 27, 227) << 23;
    default:
        return (uint32_t)test_between(random, 115, 129) << 23 | random_mantissa(random);
    }
}

/* `steps` halves of `s`, as exactly as an f32 can say it, or one place beside it. */
static uint32_t halves_of(struct test_random *random, uint32_t s, int64_t halves)
{
    struct ref_number number;
    uint32_t bits;

    (void)ref_decode(CLQ_F32, s, &number);
    number.negative = halves < 0;
    number.mantissa *= (uint64_t)(halves < 0 ? -halves : halves);
    number.exponent--;
    bits = (uint32_t)ref_encode(CLQ_F32, number);
    if ((bits & 0x7fffffff) - 1 >= 0x7f7fffff) return bits;
    return bits + (uint32_t)test_between(random, -2, 2) / 2;
}

uint32_t test_random_value(struct test_random *random, uint32_t s, int64_t z, int64_t qmin, int64_t qmax)
{
    switch (test_between(random, 0, 15)) {
    case 0:
        return (uint32_t)test_next(random);
    case 1:
        return random_special(random);
    case 2:
        return halves_of(random, s, 2 * (qmin - z) + test_between(random, -4, 4));
    case 3:
        return halves_of(random, s, 2 * (qmax - z) + test_between(random, -4, 4));
    case 4:
        return halves_of(random, s, test_between(random, -4, 4));
    case 5:
    case 6:
    case 7:
        return halves_of(random, s, 2 * test_between(random, qmin - z - 2, qmax - z + 2) + 1);
    case 8:
        return halves_of(random, s, 2 * test_between(random, 3 * (qmin - z) - 9, 3 * (qmax - z) + 9));
    default: { /* anywhere in the range and a little beyond */
        const int64_t span = qmax - qmin + 4;
        const float steps = (float)(qmin - z - 2) + (float)span * ((float)(test_next(random) >> 40) * 0x1p-24f);
        return ref_multiply(test_bits(steps), s);
    }
    }
}

/* ---- memory */

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

unsigned char *test_guarded(int32_t slot, size_t size_bytes, bool at_end)
{
    static struct {
        unsigned char *memory; /* one guard page, then the pages, then a guard page */
        size_t size_bytes;
    } slots[TEST_SLOTS];
    const size_t page = page_bytes();

    if (slots[slot].memory == NULL || slots[slot].size_bytes < size_bytes) {
        const size_t pages_bytes = (size_bytes + page * 16) / page * page;
        if (slots[slot].memory != NULL) munmap(slots[slot].memory, slots[slot].size_bytes + 2 * page);
        slots[slot].size_bytes = pages_bytes;
        slots[slot].memory = mmap(NULL, pages_bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        TEST_CHECK(slots[slot].memory != MAP_FAILED &&
                       mprotect(slots[slot].memory + page, pages_bytes, PROT_READ | PROT_WRITE) == 0,
                   "no memory for the test");
    }
    return slots[slot].memory + page + (at_end ? slots[slot].size_bytes - size_bytes : 0);
}

void test_fill_random(struct test_random *random, void *memory, size_t size_bytes)
{
    unsigned char *bytes = memory;
    for (size_t i = 0; i < size_bytes; i += 8) {
        const uint64_t word = test_next(random);
        memcpy(bytes + i, &word, size_bytes - i < 8 ? size_bytes - i : 8);
    }
}

/* ---- tensors */

static bool is_4bit(clq_dtype dtype)
{
    return dtype == CLQ_S4 || dtype == CLQ_U4;
}

/* Strides from the innermost dimension of some order outwards, with gaps, steps, signs and zeros as the layout has them. */
static void make_strides(clq_tensor *view, struct test_random *random, enum test_layout layout)
{
    int32_t order[CLQ_MAX_RANK];
    int64_t stride = 1;
    const bool any = layout >= TEST_MIXED;

    for (int32_t i = 0; i < view->rank; i++)
        order[i] = i;
    if (layout == TEST_TRANSPOSED || any) {
        for (int32_t i = view->rank - 1; i > 0; i--) {
            const int32_t other = (int32_t)test_between(random, 0, i), kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
    }
    if (layout == TEST_STEPPED || (any && test_chance(random, 2))) stride = test_between(random, 2, 3);
    for (int32_t i = view->rank - 1; i >= 0; i--) {
        const int32_t dimension = order[i];
        view->strides[dimension] = stride;
        stride *= view->shape[dimension] > 0 ? view->shape[dimension] : 1;
        if ((layout == TEST_PADDED && i > 0) || ((layout == TEST_TRANSPOSED || any) && test_chance(random, 2)))
            stride += test_between(random, 1, 5);
        if ((layout == TEST_REVERSED || any) && test_chance(random, 2)) view->strides[dimension] *= -1;
        if (layout == TEST_BROADCAST && test_chance(random, 2)) view->strides[dimension] = 0;
    }
}

void test_tensor_make_strided(struct test_tensor *tensor, struct test_random *random, int32_t slot, clq_dtype dtype, int32_t rank,
                              const int64_t *shape, const int64_t *strides)
{
    const int64_t bits = clq_dtype_bits(dtype);
    int64_t least = 0, most = 0, slack, lead;
    clq_tensor *const view = &tensor->view;

    *view = clq_tensor_host(dtype, NULL, rank, shape);
    memcpy(view->strides, strides, (size_t)rank * sizeof *strides);
    for (int32_t i = 0; i < rank; i++)
        *(view->strides[i] < 0 ? &least : &most) += (shape[i] - 1) * view->strides[i];
    /* The memory is exactly what the view spans, at a guard page or up to 63 bytes from one. */
    tensor->size_bytes = ref_elements(rank, shape) == 0 ? 0 : (size_t)(((most - least + 1) * bits + 7) / 8);
    slack = test_chance(random, 2) ? 0 : test_between(random, 0, 63);
    tensor->memory = test_guarded(slot, tensor->size_bytes + (size_t)slack, test_chance(random, 2));
    if (test_chance(random, 2)) tensor->memory += slack;
    tensor->copy = malloc(2 * tensor->size_bytes + 1);
    TEST_CHECK(tensor->copy != NULL, "no memory for the test");
    tensor->initial = tensor->copy + tensor->size_bytes;
    test_fill_random(random, tensor->memory, tensor->size_bytes);
    test_tensor_sync(tensor);

    /* The pointer may lie anywhere if the offset makes up for it. */
    lead = test_chance(random, 2) ? -least : test_chance(random, 2) ? 0 : 2 * test_between(random, -8, 8);
    view->offset = lead;
    if (is_4bit(dtype) && lead % 2 != 0) view->offset = lead = 0;
    tensor->expected = *view;
    view->data = (void *)((uintptr_t)tensor->memory + (uintptr_t)((-least - lead) * bits / 8));
    tensor->expected.data = (void *)((uintptr_t)tensor->copy + (uintptr_t)((-least - lead) * bits / 8));
    if (ref_elements(rank, shape) == 0) view->data = test_chance(random, 2) ? NULL : (void *)tensor->memory;
}

void test_tensor_make(struct test_tensor *tensor, struct test_random *random, int32_t slot, clq_dtype dtype, int32_t rank,
                      const int64_t *shape, enum test_layout layout)
{
    clq_tensor view = clq_tensor_host(dtype, NULL, rank, shape);
    if (!is_4bit(dtype) && layout != TEST_CONTIGUOUS) make_strides(&view, random, layout);
    test_tensor_make_strided(tensor, random, slot, dtype, rank, shape, view.strides);
}

void test_tensor_free(struct test_tensor *tensor)
{
    free(tensor->copy);
    tensor->copy = NULL;
}

void test_tensor_sync(struct test_tensor *tensor)
{
    memcpy(tensor->copy, tensor->memory, tensor->size_bytes);
    memcpy(tensor->initial, tensor->memory, tensor->size_bytes);
}

void test_tensor_reset(struct test_tensor *tensor)
{
    memcpy(tensor->memory, tensor->initial, tensor->size_bytes);
}

static bool is_float(clq_dtype dtype)
{
    return dtype == CLQ_F32 || dtype == CLQ_F16 || dtype == CLQ_BF16 || dtype == CLQ_F64;
}

/* Looks for the element that differs. NaN that do not matter are made equal on the way. */
static void compare_elements(const struct test_tensor *tensor, const char *name)
{
    const clq_tensor *const view = &tensor->view;
    int64_t index[CLQ_MAX_RANK] = {0}, number = 0;

    do {
        const uint64_t got = ref_get(view, index), expected = ref_get(&tensor->expected, index);
        char place[128] = "";
        if (is_float(view->dtype) && ref_is_nan(view->dtype, got) && ref_is_nan(view->dtype, expected)) {
            ref_set(&tensor->expected, index, got);
            continue;
        }
        for (int32_t i = 0; i < view->rank; i++)
            snprintf(place + strlen(place), sizeof place - strlen(place), "%s%" PRId64, i == 0 ? "" : ", ", index[i]);
        TEST_CHECK(got == expected,
                   "%s[%s] (element %" PRId64 "): got %" PRId64 " = 0x%" PRIx64 ", expected %" PRId64 " = 0x%" PRIx64 "; %s",
                   name, place, number, (int64_t)got, got, (int64_t)expected, expected, test_describe(view));
        number++;
    } while (ref_next(view->rank, view->shape, index));
}

void test_tensor_compare(const struct test_tensor *tensor, const char *name)
{
    size_t i = 0;

    if (tensor->size_bytes == 0 || memcmp(tensor->memory, tensor->copy, tensor->size_bytes) == 0) return;
    compare_elements(tensor, name);
    while (i < tensor->size_bytes && tensor->memory[i] == tensor->copy[i])
        i++;
    TEST_CHECK(i == tensor->size_bytes, "%s: byte %zu of %zu, outside of the elements, has become 0x%02x from 0x%02x; %s", name,
               i, tensor->size_bytes, tensor->memory[i], tensor->copy[i], test_describe(&tensor->view));
}

static char *next_text(size_t *size_bytes)
{
    static char texts[8][320];
    static unsigned next;
    *size_bytes = sizeof texts[0];
    return texts[next++ % 8];
}

static void append_list(char *text, size_t size_bytes, int32_t n, const int64_t *values)
{
    for (int32_t i = 0; i < n && i < CLQ_MAX_RANK; i++)
        snprintf(text + strlen(text), size_bytes - strlen(text), "%s%" PRId64, i == 0 ? "[" : ", ", values[i]);
    snprintf(text + strlen(text), size_bytes - strlen(text), n <= 0 ? "[]" : "]");
}

const char *test_describe(const clq_tensor *tensor)
{
    size_t size_bytes;
    char *const text = next_text(&size_bytes);

    snprintf(text, size_bytes, "%s ", clq_dtype_name(tensor->dtype));
    append_list(text, size_bytes, tensor->rank, tensor->shape);
    snprintf(text + strlen(text), size_bytes - strlen(text), " strides ");
    append_list(text, size_bytes, tensor->rank, tensor->strides);
    snprintf(text + strlen(text), size_bytes - strlen(text), " offset %" PRId64, tensor->offset);
    return text;
}

const char *test_describe_scheme(const clq_scheme *scheme)
{
    static const char *const symmetries[] = {"asymmetric", "symmetric", "symmetric full", "power of two"};
    static const char *const granularities[] = {"per tensor", "per channel", "per group"};
    size_t size_bytes;
    char *const text = next_text(&size_bytes);

    snprintf(text, size_bytes, "%s %s %s axis %d group %" PRId64 " [%d, %d] %s", clq_dtype_name(scheme->dtype),
             symmetries[scheme->symmetry & 3], granularities[scheme->granularity % 3], (int)scheme->axis, scheme->group_size,
             (int)scheme->qmin, (int)scheme->qmax, scheme->quotient == CLQ_RECIPROCAL ? "reciprocal" : "division");
    return text;
}

void test_random_shape(struct test_random *random, int32_t rank, int64_t most, bool may_be_empty, int64_t *shape)
{
    int64_t left = most;

    for (int32_t i = 0; i < rank; i++) {
        /* Which dimension is the long one varies. */
        const int64_t usual = rank - i <= 1 ? left : 1 + left / test_between(random, 1, left < 64 ? left : 64);
        shape[i] = test_chance(random, 8) ? 1 : test_between(random, 1, usual < left ? usual : left);
        left /= shape[i];
    }
    for (int32_t i = rank - 1; i > 0; i--) {
        const int32_t other = (int32_t)test_between(random, 0, i);
        const int64_t kept = shape[i];
        shape[i] = shape[other];
        shape[other] = kept;
    }
    if (may_be_empty && rank > 0 && test_chance(random, 40)) shape[test_between(random, 0, rank - 1)] = 0;
}

/* ---- schemes */

const clq_dtype test_float_dtypes[3] = {CLQ_F32, CLQ_F16, CLQ_BF16};

enum test_layout test_random_layout(struct test_random *random, bool is_input)
{
    if (test_chance(random, 3)) return TEST_CONTIGUOUS;
    return (enum test_layout)test_between(random, 0, is_input ? TEST_BROADCAST : TEST_MIXED);
}

void test_random_range(struct test_random *random, clq_scheme *scheme)
{
    int64_t least, most, low, high;

    ref_type_range(scheme->dtype, &least, &most);
    if (least < 0 && scheme->symmetry == CLQ_SYMMETRIC_FULL) {
        low = -test_between(random, 1, -least);
        high = -low - test_between(random, 0, 1);
        if (high > most) high = most;
    } else if (least < 0 && scheme->symmetry != CLQ_ASYMMETRIC) {
        low = -test_between(random, 1, -least);
        high = test_between(random, 1, most);
    } else {
        low = test_between(random, least, most - 2);
        high = test_between(random, low + 2, most);
    }
    if (low == 0 && high == 0) return;
    scheme->qmin = (int32_t)low;
    scheme->qmax = (int32_t)high;
}

static int64_t random_group_size(struct test_random *random, int64_t extent)
{
    switch (test_between(random, 0, 4)) {
    case 0:
        return 1;
    case 1:
        return extent + test_between(random, 0, 3) + (extent == 0);
    case 2:
        return test_chance(random, 8) ? INT64_MAX : 32;
    default:
        return test_between(random, 1, extent < 40 ? extent + 1 : 40);
    }
}

void test_random_axis(struct test_random *random, clq_scheme *scheme, int32_t rank, const int64_t *shape)
{
    const int32_t axis = (int32_t)test_between(random, 0, rank > 0 ? rank - 1 : 0);

    if (rank == 0) return;
    scheme->axis = test_chance(random, 2) ? axis : axis - rank;
    scheme->group_size = random_group_size(random, shape[axis]);
}

const struct test_shape test_long_shapes[] = {
    {1, {5001}, CLQ_PER_GROUP, 0, 2049},
    {2, {3, 5001}, CLQ_PER_GROUP, 1, 2500},
    {2, {3, 5001}, CLQ_PER_GROUP, 1, 4999},
    {2, {3, 4099}, CLQ_PER_GROUP, 1, 64},
    {2, {3, 4099}, CLQ_PER_GROUP, 0, 2},
    {2, {2500, 3}, CLQ_PER_GROUP, 0, 2049},
    {2, {2500, 3}, CLQ_PER_GROUP, 0, 7},
    {2, {2500, 3}, CLQ_PER_GROUP, 1, 2},
    {2, {3, 5001}, CLQ_PER_CHANNEL, 1, 0},
    {2, {3, 5001}, CLQ_PER_CHANNEL, 0, 0},
    {2, {5001, 3}, CLQ_PER_CHANNEL, -1, 0},
    {2, {131, 67}, CLQ_PER_CHANNEL, -2, 0},
    {3, {3, 2200, 2}, CLQ_PER_GROUP, 1, 2100},
    {3, {2, 3, 2111}, CLQ_PER_CHANNEL, 1, 0},
    {3, {65, 3, 33}, CLQ_PER_CHANNEL, 1, 0},
    {3, {33, 65, 5}, CLQ_PER_GROUP, 1, 32},
    {4, {3, 17, 9, 11}, CLQ_PER_GROUP, 2, 4},
    {4, {5, 7, 16, 16}, CLQ_PER_CHANNEL, 1, 0},
    {8, {2, 3, 2, 3, 2, 3, 2, 9}, CLQ_PER_GROUP, -4, 2},
    {8, {2, 3, 2, 3, 2, 3, 2, 9}, CLQ_PER_CHANNEL, 5, 0},
    {0, {0}, CLQ_PER_TENSOR, 0, 0},
    {2, {71, 131}, CLQ_PER_TENSOR, 0, 0},
};
const int32_t test_long_shape_count = TEST_COUNT_OF(test_long_shapes);

const struct test_shape test_large_shapes[] = {
    {1, {327700}, CLQ_PER_TENSOR, 0, 0},      {1, {393217}, CLQ_PER_GROUP, 0, 31},       {2, {3, 131077}, CLQ_PER_CHANNEL, 0, 0},
    {2, {2, 170001}, CLQ_PER_CHANNEL, 1, 0},  {2, {3, 131077}, CLQ_PER_GROUP, 1, 70001}, {2, {131077, 3}, CLQ_PER_CHANNEL, 1, 0},
    {2, {131077, 3}, CLQ_PER_GROUP, 0, 1000}, {3, {5, 257, 259}, CLQ_PER_CHANNEL, 1, 0}, {3, {257, 5, 259}, CLQ_PER_GROUP, 2, 32},
    {2, {577, 571}, CLQ_PER_TENSOR, 0, 0},
};
const int32_t test_large_shape_count = TEST_COUNT_OF(test_large_shapes);

clq_scheme test_shape_scheme(struct test_random *random, const struct test_shape *shape, clq_dtype dtype)
{
    return (clq_scheme){.dtype = dtype,
                        .symmetry = (clq_symmetry)test_between(random, 0, 3),
                        .granularity = shape->granularity,
                        .quotient = (clq_quotient)test_between(random, 0, 1),
                        .axis = shape->axis,
                        .group_size = shape->group_size};
}

static int64_t random_zero_point(struct test_random *random, const clq_scheme *scheme, const struct ref_scheme *resolved)
{
    if (resolved->symmetric || scheme->dtype == CLQ_S32) return resolved->zero_point;
    if (test_chance(random, 4)) return resolved->qmin;
    if (test_chance(random, 3)) return resolved->qmax;
    return test_between(random, resolved->qmin, resolved->qmax);
}

void test_params_make(struct test_params *p, struct test_random *random, int32_t slot, const clq_scheme *scheme, int32_t rank,
                      const int64_t *shape)
{
    int64_t param_shape[CLQ_MAX_RANK], index[CLQ_MAX_RANK] = {0};
    int32_t param_rank;

    memset(p, 0, sizeof *p);
    p->params.scheme = *scheme;
    ref_scheme_resolve(scheme, &p->resolved);
    ref_scheme_shape(scheme, rank, shape, &param_rank, param_shape);
    if (scheme->granularity == CLQ_PER_TENSOR && test_chance(random, 2)) param_shape[param_rank++] = 1;
    test_tensor_make(&p->scale, random, slot, CLQ_F32, param_rank, param_shape, test_random_layout(random, true));
    test_tensor_make(&p->zero_point, random, slot + 1, CLQ_S32, param_rank, param_shape, test_random_layout(random, true));
    /* Without a zero point 0 must be allowed. */
    p->has_zero_point = test_chance(random, 2) || (!p->resolved.symmetric && p->resolved.zero_point != 0);
    p->params.scale = p->scale.view;
    if (p->has_zero_point) p->params.zero_point = p->zero_point.view;
    if (ref_elements(param_rank, param_shape) == 0) return;
    do {
        ref_set(&p->scale.view, index, test_random_scale(random));
        if (p->has_zero_point) ref_set(&p->zero_point.view, index, (uint64_t)random_zero_point(random, scheme, &p->resolved));
    } while (ref_next(param_rank, param_shape, index));
    test_tensor_sync(&p->scale);
    test_tensor_sync(&p->zero_point);
}

void test_params_free(struct test_params *p)
{
    test_tensor_free(&p->scale);
    test_tensor_free(&p->zero_point);
}

void test_params_compare(const struct test_params *p)
{
    test_tensor_compare(&p->scale, "scale (an input)");
    test_tensor_compare(&p->zero_point, "zero_point (an input)");
}

void test_params_fill(const struct test_params *p, struct test_random *random, struct test_tensor *tensor)
{
    const clq_tensor *const x = &tensor->view;
    int64_t index[CLQ_MAX_RANK] = {0};
    uint32_t s;
    int64_t z;

    if (ref_elements(x->rank, x->shape) == 0) return;
    do {
        ref_params_at(&p->params, &p->resolved, x->rank, index, &s, &z);
        const uint32_t value = test_random_value(random, s, z, p->resolved.lowest, p->resolved.highest);
        ref_set(x, index, ref_cast(CLQ_F32, x->dtype, value));
    } while (ref_next(x->rank, x->shape, index));
    test_tensor_sync(tensor);
}

/* ---- tables and contexts */

static bool is_usable(const struct clq_cpu_table *table)
{
    return table->has_instructions() && table->is_allowed();
}

int32_t test_table_count(void)
{
    int32_t count = 0;
    for (int32_t i = 0; i < clq_cpu_table_count; i++)
        count += is_usable(&clq_cpu_tables[i]);
    return count;
}

const struct clq_cpu_table *test_table(int32_t i)
{
    for (int32_t k = 0; k < clq_cpu_table_count; k++)
        if (is_usable(&clq_cpu_tables[k]) && i-- == 0) return &clq_cpu_tables[k];
    abort();
}

bool test_has_elements(const struct clq_cpu_table *table)
{
    return table->ops->quantize[CLQ_FLOAT_F32][CLQ_INT_S8] != NULL;
}

clq_context *test_context(const char *table, int32_t threads, clq_parallel_for_fn hook, void *opaque)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context = NULL;
    clq_device_info info;
    char text[256] = "";

    options.device = "cpu";
    options.cpu = table;
    options.num_threads = threads;
    options.parallel_for = hook;
    options.parallel_for_opaque = opaque;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK && context != NULL, "clq_context_create(cpu = %s): %s",
               table ? table : "NULL", text);
    TEST_OK(context, clq_context_info(context, &info));
    TEST_CHECK(table == NULL || strcmp(info.path, table) == 0, "a context on table %s runs on %s", table, info.path);
    return context;
}

bool test_works(clq_context *context, int64_t n, uint64_t salt)
{
    float *const x = calloc((size_t)n, sizeof *x);
    int8_t *const q = calloc((size_t)n, 1);
    float scale = 0.25f;
    const clq_tensor source = clq_tensor_host(CLQ_F32, x, 1, &n), target = clq_tensor_host(CLQ_S8, q, 1, &n);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    bool good = x != NULL && q != NULL;

    for (int64_t i = 0; good && i < n; i++)
        x[i] = (float)((int64_t)((uint64_t)i * 2654435761u + salt) % 400 - 200) * 0.2f;
    good = good && clq_quantize(context, &source, &params, &target, NULL) == CLQ_OK;
    for (int64_t i = 0; good && i < n; i++) {
        enum ref_kind kind;
        good = q[i] == ref_quantize_bits(test_bits(x[i]), test_bits(scale), false, 0, -128, 127, &kind);
    }
    free(x);
    free(q);
    return good;
}

/* ---- threads */

struct workers {
    struct test_hook *hook;
    atomic_llong left;
    clq_task_fn task;
    void *argument;
};

static void *work(void *opaque)
{
    struct workers *const workers = opaque;
    uint64_t mode;
    long long next;

    if (workers->hook->hostile_mode) {
        test_mode_set(TEST_MODE_FLUSH);
        fesetround(FE_UPWARD);
    }
    mode = test_mode_get();
    while ((next = atomic_fetch_sub(&workers->left, 1)) > 0) {
        workers->task(workers->argument, next - 1);
        atomic_fetch_add(&workers->hook->tasks, 1);
        if (test_mode_get() != mode) atomic_store(&workers->hook->mode_lost, true);
    }
    if (workers->hook->hostile_mode) {
        fesetround(FE_TONEAREST);
        test_mode_set(TEST_MODE_PLAIN);
    }
    return NULL;
}

void test_parallel_for(void *opaque, int64_t tasks, clq_task_fn task, void *argument)
{
    struct test_hook *const hook = opaque;
    struct workers workers = {.hook = hook, .left = tasks, .task = task, .argument = argument};
    pthread_t threads[16];
    int32_t started = 0;

    atomic_fetch_add(&hook->calls, 1);
    while (started < hook->threads && started < (int32_t)TEST_COUNT_OF(threads) &&
           pthread_create(&threads[started], NULL, work, &workers) == 0)
        started++;
    if (started == 0) work(&workers);
    for (int32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* ---- floating-point environment */

#if defined(__x86_64__) || defined(__SSE__)
#define FLUSH_BITS 0x8040 /* FTZ, DAZ */
#define MASK_BITS  0x1f80
#define STATE_BITS 0x003f
#elif defined(__aarch64__)
#define FLUSH_BITS ((clq_fp_mode)1 << 24 | (clq_fp_mode)1 << 19) /* FZ, FZ16 */
#endif

uint64_t test_mode_get(void)
{
    return clq_fp_mode_get() & CLQ_FP_MODE_MASK;
}

void test_mode_set(enum test_mode mode)
{
    clq_fp_mode_set((clq_fp_mode_get() & ~(clq_fp_mode)CLQ_FP_MODE_MASK) | CLQ_FP_MODE);
#ifdef FLUSH_BITS
    if (mode == TEST_MODE_FLUSH) clq_fp_mode_set(clq_fp_mode_get() | FLUSH_BITS);
#endif
#ifdef MASK_BITS /* Arm processors may leave the enables out, and most do */
    if (mode == TEST_MODE_TRAPS) clq_fp_mode_set(clq_fp_mode_get() & ~(clq_fp_mode)(MASK_BITS | STATE_BITS));
#endif
}

void test_mode_end(enum test_mode mode)
{
    const uint64_t found = test_mode_get();
    uint64_t expected;

    test_mode_set(mode);
    expected = test_mode_get();
    test_mode_set(TEST_MODE_PLAIN);
    TEST_CHECK(found == expected, "the call left the floating-point mode 0x%" PRIx64 ", found 0x%" PRIx64, found, expected);
}

/* ---- every way to run an operation */

#ifdef TEST_OPENCL

static int32_t open_device(struct test_place *places, int32_t n, int32_t number, int64_t staging_bytes, int32_t threads)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct test_place *const place = &places[n];
    char text[256] = "", id[32];

    memset(place, 0, sizeof *place);
    snprintf(id, sizeof id, "opencl:%d", (int)number);
    snprintf(place->name, sizeof place->name, "%s staging %" PRId64 ", %d threads", id, staging_bytes, (int)threads);
    options.device = id;
    options.no_fallback = 1;
    options.staging_bytes = staging_bytes;
    options.num_threads = threads;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    TEST_CHECK(clq_context_create(&options, &place->context) == CLQ_OK, "%s: %s", place->name, text);
    return n + 1;
}

int32_t test_places_open(struct test_place *places, bool threaded)
{
    int32_t numbers[TEST_PLACES / 2], n = 0;
    const int32_t count = find_devices(numbers);

    for (int32_t i = 0; i < count; i++) {
        n = open_device(places, n, numbers[i], 0, 1);
        n = open_device(places, n, numbers[i], threaded ? 1 << 20 : 4096, threaded ? 2 : 1);
    }
    TEST_CHECK(n > 0, "no OpenCL device");
    return n;
}

int32_t test_gemm_places_open(struct test_place *places, bool threaded)
{
    return test_places_open(places, threaded);
}

#else

static int32_t open_place(struct test_place *places, int32_t n, const char *table, int32_t threads, bool hooked, bool hostile)
{
    struct test_place *const place = &places[n];

    TEST_CHECK(n < TEST_PLACES, "too many places");
    memset(place, 0, sizeof *place);
    place->hook.threads = threads;
    place->hook.hostile_mode = hostile;
    snprintf(place->name, sizeof place->name, "%s, %d threads%s%s", table, (int)threads, hooked ? " of the hook" : "",
             hostile ? " in hostile mode" : "");
    place->context = test_context(table, threads, hooked ? test_parallel_for : NULL, &place->hook);
    return n + 1;
}

static int32_t open_places(struct test_place *places, bool threaded, bool all_tables)
{
    int32_t n = 0;

    for (int32_t i = 0; i < test_table_count(); i++) {
        const char *const table = test_table(i)->ops->name;
        if (!test_table(i)->is_worth_it() || (!all_tables && !test_has_elements(test_table(i)))) continue;
        n = open_place(places, n, table, 1, false, false);
        if (!threaded) continue;
        n = open_place(places, n, table, 2, true, false);
        n = open_place(places, n, table, 5, true, true);
        n = open_place(places, n, table, 5, false, false); /* OpenMP, or one thread in a build without it */
    }
    return n;
}

int32_t test_places_open(struct test_place *places, bool threaded)
{
    return open_places(places, threaded, false);
}

int32_t test_gemm_places_open(struct test_place *places, bool threaded)
{
    return open_places(places, threaded, true);
}

#endif

void test_places_close(struct test_place *places, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        TEST_CHECK(!atomic_load(&places[i].hook.mode_lost), "%s: a task changed its thread's floating-point mode",
                   places[i].name);
        clq_context_free(places[i].context);
    }
}

/* ---- allocation */

/* Stands before each piece. */
struct piece {
    void *memory;
    size_t size_bytes;
    uint64_t mark;
};

#define PIECE_MARK UINT64_C(0x706965636d61726b)

static void *allocate(void *opaque, size_t size_bytes, size_t alignment_bytes)
{
    struct test_allocator *const allocator = opaque;
    const long long call = atomic_fetch_add(&allocator->calls, 1) + 1;
    struct piece piece = {.size_bytes = size_bytes, .mark = PIECE_MARK};
    uintptr_t address;

    if (size_bytes == 0 || alignment_bytes == 0 || (alignment_bytes & (alignment_bytes - 1)) != 0 || alignment_bytes > 4096)
        atomic_store(&allocator->misused, true);
    if (call == allocator->fail_at ||
        (allocator->fail_size_from > 0 && size_bytes >= (unsigned long long)allocator->fail_size_from))
        return NULL;
    piece.memory = malloc(size_bytes + sizeof piece + 2 * alignment_bytes);
    if (piece.memory == NULL) return NULL;
    /* Aligned to what was asked for and to no more, so that nobody can count on more. */
    address = ((uintptr_t)piece.memory + sizeof piece + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
    if (address / alignment_bytes % 2 == 0) address += alignment_bytes;
    memcpy((char *)address - sizeof piece, &piece, sizeof piece);
    memset((char *)address, 0xa5, size_bytes);
    atomic_fetch_add(&allocator->live, 1);
    atomic_fetch_add(&allocator->live_bytes, (long long)size_bytes);
    return (void *)address;
}

static void deallocate(void *opaque, void *memory)
{
    struct test_allocator *const allocator = opaque;
    struct piece piece;

    if (memory == NULL) {
        atomic_store(&allocator->misused, true);
        return;
    }
    memcpy(&piece, (char *)memory - sizeof piece, sizeof piece);
    if (piece.mark != PIECE_MARK) {
        atomic_store(&allocator->misused, true);
        return;
    }
    atomic_fetch_sub(&allocator->live, 1);
    atomic_fetch_sub(&allocator->live_bytes, (long long)piece.size_bytes);
    memset((char *)memory - sizeof piece, 0x5a, piece.size_bytes + sizeof piece);
    free(piece.memory);
}

clq_allocator test_allocator_of(struct test_allocator *allocator)
{
    return (clq_allocator){allocate, deallocate, allocator};
}
