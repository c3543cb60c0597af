/* SPDX-License-Identifier: MIT */
/* Contexts: options, environment, allocator, logger, listing, error text; names and version. */
#include "config.h"

#include "test_support.h"
#include <fenv.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tests set these; what the caller of the tests has in them must not matter. */
static void clear_environment(void)
{
    unsetenv("CLQ_DEVICE");
    unsetenv("CLQ_CPU");
    unsetenv("CLQ_NUM_THREADS");
    unsetenv("OMP_NUM_THREADS");
}

/* Creates with these options; fails unless the status is the expected one, a context comes exactly with CLQ_OK, and a text with
 * every failure. */
static clq_context *create(const clq_context_options *given, clq_status expected, const char *mentions)
{
    clq_context_options options = *given;
    clq_context *context = (clq_context *)&options; /* to be overwritten in any case */
    char text[512] = "untouched";
    clq_status status;

    options.error_text = text;
    options.error_text_bytes = sizeof text;
    status = clq_context_create(&options, &context);
    TEST_CHECK(status == expected, "got %s, must be %s; %s", clq_status_name(status), clq_status_name(expected), text);
    TEST_CHECK((context != NULL) == (expected == CLQ_OK), "a context exists only after success");
    if (expected == CLQ_OK) {
        TEST_CHECK(strcmp(text, "untouched") == 0, "success writes no text, but: %s", text);
        TEST_CHECK(strcmp(clq_context_error(context), "") == 0, "a new context has no error: %s", clq_context_error(context));
    } else {
        TEST_CHECK(mentions == NULL || strstr(text, mentions) != NULL, "\"%s\" does not mention \"%s\"", text, mentions);
        TEST_CHECK(strchr(text, '\n') == NULL && *text != '\0', "not one line: \"%s\"", text);
    }
    return context;
}

static void refuse(const clq_context_options *options, clq_status expected, const char *mentions)
{
    (void)create(options, expected, mentions);
}

static clq_device_info info_of(const clq_context *context)
{
    clq_device_info info;
    memset(&info, 0xa5, sizeof info);
    TEST_CHECK(clq_context_info(context, &info) == CLQ_OK, "clq_context_info");
    return info;
}

/* ---- options */

START_TEST(defaults)
{
    clq_context *context = NULL;
    clq_device_info info;

    clear_environment();
    TEST_CHECK(clq_context_create(NULL, &context) == CLQ_OK && context != NULL, "no options");
    info = info_of(context);
    TEST_CHECK(strcmp(info.id, "cpu") == 0 && info.chosen == 1, "id %s, chosen %d", info.id, (int)info.chosen);
    TEST_CHECK(*info.name != '\0' && *info.reason != '\0' && info.memory_bytes > 0, "name \"%s\", reason \"%s\"", info.name,
               info.reason);
    TEST_CHECK(info.num_threads >= 1 && info.num_threads <= sysconf(_SC_NPROCESSORS_CONF), "%d threads", (int)info.num_threads);
    for (int32_t i = 0; i < clq_cpu_table_count; i++)
        TEST_CHECK(strstr(info.tables, clq_cpu_tables[i].ops->name) != NULL, "\"%s\" lacks %s", info.tables,
                   clq_cpu_tables[i].ops->name);
    TEST_OK(context, clq_context_synchronize(context));
    clq_context_free(context);
    clq_context_free(NULL);
}
END_TEST

START_TEST(null_arguments)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    char text[200] = "";
    clq_device_info info;

    options.error_text = text;
    options.error_text_bytes = sizeof text;
    TEST_CHECK(clq_context_create(&options, NULL) == CLQ_ERROR_INVALID_ARGUMENT && strstr(text, "context") != NULL,
               "context NULL: \"%s\"", text);
    TEST_CHECK(clq_context_create(NULL, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "both NULL");
    TEST_CHECK(clq_context_info(NULL, &info) == CLQ_ERROR_INVALID_ARGUMENT, "info of NULL");
    TEST_CHECK(clq_context_info(context, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "info to NULL");
    TEST_CHECK(clq_context_synchronize(NULL) == CLQ_ERROR_INVALID_ARGUMENT, "synchronize NULL");
    TEST_CHECK(clq_context_error(NULL) != NULL, "the error of NULL is some text");
    clq_context_free(context);
}
END_TEST

START_TEST(tables_by_name)
{
    static const char *const names[] = {"amx", "avx512vnni", "avx512", "avxvnni", "avx2", "neondot", "neon", "scalar"};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;

    clear_environment();
    for (size_t i = 0; i < TEST_COUNT_OF(names); i++) {
        bool is_there = false;
        for (int32_t k = 0; k < test_table_count(); k++)
            is_there = is_there || (strcmp(test_table(k)->ops->name, names[i]) == 0 && test_table(k)->is_worth_it());
        options.cpu = names[i];
        clq_context *const context = create(&options, is_there ? CLQ_OK : CLQ_ERROR_NO_DEVICE, names[i]);
        if (is_there)
            TEST_CHECK(strcmp(info_of(context).path, names[i]) == 0, "asked for %s, got %s", names[i], info_of(context).path);
        clq_context_free(context);
    }
    options.cpu = "sse9";
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "sse9");
    options.cpu = "";
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "cpu");
    options.cpu = "Scalar";
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "Scalar");
    options.cpu = "scalar ";
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, NULL);
}
END_TEST

START_TEST(devices_by_name)
{
    static const char *const unknown[] = {"gpu",     "",         "CPU",       "cpu:0",      "openclx",
                                          "opencl:", "opencl:x", "opencl:-1", "opencl:0x1", "a\nb"};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;

    clear_environment();
    options.device = "cpu";
    clq_context_free(create(&options, CLQ_OK, NULL));
    for (size_t i = 0; i < TEST_COUNT_OF(unknown); i++) {
        test_note("device \"%s\"", unknown[i]);
        options.device = unknown[i];
        refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "device");
    }
}
END_TEST

START_TEST(thread_numbers)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    const int32_t good[] = {1, 2, 7, 1024}, bad[] = {-1, 1025, INT32_MIN, INT32_MAX};

    clear_environment();
    for (size_t i = 0; i < TEST_COUNT_OF(good); i++) {
        options.num_threads = good[i];
        clq_context *const context = create(&options, CLQ_OK, NULL);
        TEST_CHECK(info_of(context).num_threads == good[i], "asked for %d, got %d", (int)good[i],
                   (int)info_of(context).num_threads);
        clq_context_free(context);
    }
    for (size_t i = 0; i < TEST_COUNT_OF(bad); i++) {
        options.num_threads = bad[i];
        refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "num_threads");
    }
}
END_TEST

START_TEST(struct_sizes)
{
    struct {
        clq_context_options options;
        unsigned char later[64]; /* what a newer header might append */
    } newer = {.options = CLQ_CONTEXT_OPTIONS_INIT};
    clq_context *context = NULL;

    clear_environment();
    newer.options.num_threads = 3;
    newer.options.struct_size = sizeof newer;
    TEST_CHECK(clq_context_create(&newer.options, &context) == CLQ_OK && info_of(context).num_threads == 3,
               "a larger struct with zeros behind");
    clq_context_free(context);
    newer.later[40] = 1;
    TEST_CHECK(clq_context_create(&newer.options, &context) == CLQ_ERROR_INVALID_ARGUMENT && context == NULL,
               "an option that this version does not know");
    /* Sizes that no version has had. */
    newer.options.struct_size = 0;
    TEST_CHECK(clq_context_create(&newer.options, &context) == CLQ_ERROR_INVALID_ARGUMENT && context == NULL, "size 0");
    newer.options.struct_size = sizeof(size_t);
    TEST_CHECK(clq_context_create(&newer.options, &context) == CLQ_ERROR_INVALID_ARGUMENT && context == NULL,
               "size of the first field alone");
    newer.options.struct_size = offsetof(clq_context_options, host_tensors) - 1;
    TEST_CHECK(clq_context_create(&newer.options, &context) == CLQ_ERROR_INVALID_ARGUMENT && context == NULL, "a byte short");
    /* The first version's struct ended before host_tensors: what lies behind is not read. */
    memset(&newer.options.host_tensors, 0xff, sizeof newer.later);
    newer.options.struct_size = offsetof(clq_context_options, host_tensors);
    TEST_CHECK(clq_context_create(&newer.options, &context) == CLQ_OK && info_of(context).num_threads == 3, "the first version's");
    clq_context_free(context);
}
END_TEST

START_TEST(error_text_is_cut)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    char text[64];
    clq_context *context;

    clear_environment();
    options.num_threads = -5;
    options.error_text = text;
    for (size_t size_bytes = 0; size_bytes <= 20; size_bytes++) {
        memset(text, '#', sizeof text);
        options.error_text_bytes = size_bytes;
        TEST_CHECK(clq_context_create(&options, &context) == CLQ_ERROR_INVALID_ARGUMENT, "must fail");
        TEST_CHECK(size_bytes == 0 || strlen(text) == size_bytes - 1, "%zu bytes: \"%s\"", size_bytes, text);
        for (size_t i = size_bytes; i < sizeof text; i++)
            TEST_CHECK(text[i] == '#', "%zu bytes: written past the end", size_bytes);
    }
    options.error_text = NULL;
    options.error_text_bytes = 100;
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_ERROR_INVALID_ARGUMENT, "no text is wanted");
}
END_TEST

/* ---- environment */

START_TEST(environment)
{
    static const struct {
        const char *variable, *value;
        clq_status expected;
    } cases[] = {
        {"CLQ_DEVICE", "cpu", CLQ_OK},
        {"CLQ_DEVICE", "", CLQ_OK},
        {"CLQ_DEVICE", "nonsense", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_CPU", "scalar", CLQ_OK},
        {"CLQ_CPU", "", CLQ_OK},
        {"CLQ_CPU", "nonsense", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "3", CLQ_OK},
        {"CLQ_NUM_THREADS", "1024", CLQ_OK},
        {"CLQ_NUM_THREADS", "", CLQ_OK},
        {"CLQ_NUM_THREADS", "0", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "-1", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "1025", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "99999999999999999999", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "4294967297", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "many", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "3x", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "3 4", CLQ_ERROR_INVALID_ARGUMENT},
        {"CLQ_NUM_THREADS", "2.5", CLQ_ERROR_INVALID_ARGUMENT},
    };
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    const clq_context_options explicit_options = {
        .struct_size = sizeof options, .device = "cpu", .cpu = "scalar", .num_threads = 2};

    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        clear_environment();
        test_note("%s=\"%s\"", cases[i].variable, cases[i].value);
        setenv(cases[i].variable, cases[i].value, 1);
        clq_context_free(create(&options, cases[i].expected, cases[i].variable));
        /* Options come first. */
        clq_context *const context = create(&explicit_options, CLQ_OK, NULL);
        const clq_device_info info = info_of(context);
        TEST_CHECK(strcmp(info.path, "scalar") == 0 && info.num_threads == 2, "options must win: %s, %d threads", info.path,
                   (int)info.num_threads);
        clq_context_free(context);
    }
    clear_environment();
    setenv("CLQ_CPU", "scalar", 1);
    setenv("CLQ_NUM_THREADS", "3", 1);
    clq_context *const context = create(&options, CLQ_OK, NULL);
    TEST_CHECK(strcmp(info_of(context).path, "scalar") == 0 && info_of(context).num_threads == 3, "the variables must be heeded");
    clq_context_free(context);
    clear_environment();
}
END_TEST

static int32_t default_threads(void)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *const context = create(&options, CLQ_OK, NULL);
    const int32_t threads = info_of(context).num_threads;
    clq_context_free(context);
    return threads;
}

START_TEST(default_thread_number)
{
    cpu_set_t set, one;
    int32_t unlimited;

    clear_environment();
    unlimited = default_threads();
    setenv("OMP_NUM_THREADS", "1", 1);
    TEST_CHECK(default_threads() == 1, "OMP_NUM_THREADS=1");
    setenv("OMP_NUM_THREADS", "1,4", 1);
    TEST_CHECK(default_threads() == 1, "OMP_NUM_THREADS=1,4: the first entry counts");
    setenv("OMP_NUM_THREADS", "1000000", 1);
    TEST_CHECK(default_threads() == unlimited, "OMP_NUM_THREADS does not raise the number");
    setenv("OMP_NUM_THREADS", "nonsense", 1);
    TEST_CHECK(default_threads() == unlimited, "what OpenMP ignores is ignored");
    unsetenv("OMP_NUM_THREADS");
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &set)) CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return;
    TEST_CHECK(default_threads() == 1, "one CPU in the affinity mask");
    sched_setaffinity(0, sizeof set, &set);
}
END_TEST

START_TEST(rounding)
{
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;

    clear_environment();
    for (size_t i = 0; i < TEST_COUNT_OF(modes); i++) {
        if (fesetround(modes[i]) != 0) continue;
        context = NULL;
        const clq_status status = clq_context_create(&options, &context);
        fesetround(FE_TONEAREST);
        TEST_CHECK(status == CLQ_ERROR_ROUNDING && context == NULL, "rounding mode %d: %s", modes[i], clq_status_name(status));
    }
}
END_TEST

/* ---- listing, names */

START_TEST(devices_list)
{
    clq_device_info infos[8];
    int32_t count = -1, chosen = 0;

    clear_environment();
    TEST_CHECK(clq_devices_list(NULL, 0, &count) == CLQ_OK && count >= 1, "the number alone");
    memset(infos, 0xa5, sizeof infos);
    count = -1;
    TEST_CHECK(clq_devices_list(infos, 8, &count) == CLQ_OK && count >= 1 && count <= 8, "all");
    for (int32_t i = 0; i < count; i++) {
        TEST_CHECK(memchr(infos[i].id, 0, sizeof infos[i].id) && memchr(infos[i].name, 0, sizeof infos[i].name) &&
                       memchr(infos[i].path, 0, sizeof infos[i].path) && memchr(infos[i].tables, 0, sizeof infos[i].tables) &&
                       memchr(infos[i].reason, 0, sizeof infos[i].reason),
                   "text without an end");
        chosen += infos[i].chosen;
    }
    TEST_CHECK(chosen == 1, "one is chosen");
    TEST_CHECK(strcmp(infos[count - 1].id, "cpu") == 0 && strcmp(infos[count - 1].path, test_table(0)->ops->name) == 0,
               "the CPU is the last, with its best table");
    for (int32_t i = count; i < 8; i++)
        TEST_CHECK(((unsigned char *)&infos[i])[0] == 0xa5, "written past the last");
    TEST_CHECK(clq_devices_list(NULL, 1, &count) == CLQ_ERROR_INVALID_ARGUMENT, "no room, but a capacity");
    TEST_CHECK(clq_devices_list(infos, -1, &count) == CLQ_ERROR_INVALID_ARGUMENT, "negative capacity");
    TEST_CHECK(clq_devices_list(infos, 8, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no count");
    /* A setting that refuses every device: they are still listed, with the reason. */
    setenv("CLQ_DEVICE", "nonsense", 1);
    TEST_CHECK(clq_devices_list(infos, 8, &count) == CLQ_OK && infos[count - 1].chosen == 0 &&
                   strstr(infos[count - 1].reason, "CLQ_DEVICE") != NULL,
               "reason \"%s\"", infos[count - 1].reason);
    clear_environment();
}
END_TEST

START_TEST(names)
{
    char version[64];

    snprintf(version, sizeof version, "%d.%d.%d", CLQ_VERSION_MAJOR, CLQ_VERSION_MINOR, CLQ_VERSION_PATCH);
    TEST_CHECK(strcmp(clq_version(), version) == 0, "version %s, header %s", clq_version(), version);
#define CHECK_STATUS(status) TEST_CHECK(strcmp(clq_status_name(status), #status) == 0, "%s", clq_status_name(status))
    CHECK_STATUS(CLQ_OK);
    CHECK_STATUS(CLQ_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(CLQ_ERROR_DTYPE);
    CHECK_STATUS(CLQ_ERROR_SHAPE);
    CHECK_STATUS(CLQ_ERROR_PARAMETER);
    CHECK_STATUS(CLQ_ERROR_OVERLAP);
    CHECK_STATUS(CLQ_ERROR_OVERFLOW);
    CHECK_STATUS(CLQ_ERROR_CONTEXT);
    CHECK_STATUS(CLQ_ERROR_OUT_OF_MEMORY);
    CHECK_STATUS(CLQ_ERROR_NO_DEVICE);
    CHECK_STATUS(CLQ_ERROR_ROUNDING);
    CHECK_STATUS(CLQ_ERROR_IO);
    CHECK_STATUS(CLQ_ERROR_FORMAT);
    CHECK_STATUS(CLQ_ERROR_DEVICE);
    CHECK_STATUS(CLQ_ERROR_FORKED);
    TEST_CHECK(strcmp(clq_status_name((clq_status)15), "unknown status") == 0, "15");
    TEST_CHECK(strcmp(clq_status_name((clq_status)-1), "unknown status") == 0, "-1");

    static const struct {
        clq_dtype dtype;
        const char *name;
        int32_t bits;
    } dtypes[] = {{CLQ_F32, "f32", 32}, {CLQ_F16, "f16", 16}, {CLQ_BF16, "bf16", 16}, {CLQ_F64, "f64", 64},
                  {CLQ_S8, "s8", 8},    {CLQ_U8, "u8", 8},    {CLQ_S4, "s4", 4},      {CLQ_U4, "u4", 4},
                  {CLQ_S16, "s16", 16}, {CLQ_U16, "u16", 16}, {CLQ_S32, "s32", 32},   {CLQ_S64, "s64", 64}};
    for (size_t i = 0; i < TEST_COUNT_OF(dtypes); i++) {
        TEST_CHECK(strcmp(clq_dtype_name(dtypes[i].dtype), dtypes[i].name) == 0, "%s", clq_dtype_name(dtypes[i].dtype));
        TEST_CHECK(clq_dtype_bits(dtypes[i].dtype) == dtypes[i].bits, "bits of %s", dtypes[i].name);
    }
    TEST_CHECK(clq_dtype_bits(CLQ_DTYPE_NONE) == 0 && clq_dtype_bits((clq_dtype)99) == 0 && clq_dtype_bits((clq_dtype)-1) == 0,
               "bits of what is no dtype");
    TEST_CHECK(strcmp(clq_dtype_name((clq_dtype)99), "unknown dtype") == 0, "name of what is no dtype");
}
END_TEST

/* ---- tensors: views */

START_TEST(views)
{
    float data[24] = {0};
    const int64_t shape[8] = {2, 3, 4, 1, 1, 1, 1, 1}, huge[2] = {INT64_MAX, INT64_MAX};
    const clq_tensor t = clq_tensor_host(CLQ_F32, data, 3, shape), scalar = clq_tensor_host(CLQ_S8, data, 0, NULL),
                     wrong = clq_tensor_host(CLQ_F32, data, 9, shape), negative = clq_tensor_host(CLQ_F32, data, -1, shape);

    TEST_CHECK(t.dtype == CLQ_F32 && t.memory == CLQ_MEMORY_HOST && t.rank == 3 && t.data == data && t.offset == 0, "fields");
    TEST_CHECK(t.shape[0] == 2 && t.shape[1] == 3 && t.shape[2] == 4, "shape");
    TEST_CHECK(t.strides[0] == 12 && t.strides[1] == 4 && t.strides[2] == 1, "strides");
    TEST_CHECK(scalar.rank == 0 && scalar.data == data, "a scalar");
    TEST_CHECK(wrong.rank == 9 && negative.rank == -1, "a wrong rank is kept");
    TEST_CHECK(clq_tensor_host(CLQ_F32, data, 2, huge).rank == 2, "sizes that overflow are for the operations to refuse");
    const clq_tensor b = clq_tensor_buffer(CLQ_S16, (clq_buffer *)data, 7, 2, shape);
    TEST_CHECK(b.memory == CLQ_MEMORY_BUFFER && b.offset == 7 && b.strides[0] == 3 && b.data == (void *)data, "a buffer's view");
}
END_TEST

/* ---- allocator, logger, error text */

START_TEST(allocators)
{
    struct test_allocator allocator = {0};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    clq_buffer *buffer = NULL;

    clear_environment();
    options.allocator = test_allocator_of(&allocator);
    context = create(&options, CLQ_OK, NULL);
    TEST_CHECK(allocator.calls > 0 && allocator.live > 0, "the context comes from the allocator");
    TEST_OK(context, clq_buffer_create(context, 1000, &buffer));
    TEST_CHECK(allocator.live_bytes >= 1000, "buffers come from the allocator");
    clq_context_free(context);
    TEST_CHECK(allocator.live > 0, "a buffer outlives its context");
    clq_buffer_free(buffer);
    TEST_CHECK(allocator.live == 0 && allocator.live_bytes == 0, "%lld pieces are left", (long long)allocator.live);
    TEST_CHECK(!allocator.misused, "a size, an alignment or a pointer was wrong");
    /* Both functions or neither. */
    options.allocator.deallocate = NULL;
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "allocator");
    options.allocator = test_allocator_of(&allocator);
    options.allocator.allocate = NULL;
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "allocator");
}
END_TEST

START_TEST(buffer_creation)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    clq_buffer *buffer = (clq_buffer *)(void *)context;
    const int64_t wrong[] = {0, -1, INT64_MIN};

    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        buffer = (clq_buffer *)(void *)context;
        TEST_CHECK(clq_buffer_create(context, wrong[i], &buffer) == CLQ_ERROR_INVALID_ARGUMENT && buffer == NULL, "size %" PRId64,
                   wrong[i]);
        TEST_CHECK(strstr(clq_context_error(context), "size_bytes") != NULL, "%s", clq_context_error(context));
    }
    TEST_CHECK(clq_buffer_create(context, 100, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no place for it");
    buffer = (clq_buffer *)(void *)context;
    TEST_CHECK(clq_buffer_create(NULL, 100, &buffer) == CLQ_ERROR_INVALID_ARGUMENT && buffer == NULL, "no context");
    clq_buffer_free(NULL);
    clq_context_free(context);
}
END_TEST

struct log {
    int lines, errors;
    bool bad;
    char last[512];
};

static void keep_line(void *opaque, clq_log_level level, const char *text)
{
    struct log *const log = opaque;
    log->lines++;
    log->errors += level == CLQ_LOG_ERROR;
    log->bad = log->bad || level < CLQ_LOG_ERROR || level > CLQ_LOG_INFO || *text == '\0' || strchr(text, '\n') != NULL;
    snprintf(log->last, sizeof log->last, "%s", text);
}

START_TEST(logger)
{
    struct log log = {0};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    clq_buffer *buffer;
    int before;

    clear_environment();
    options.log = keep_line;
    options.log_opaque = &log;
    context = create(&options, CLQ_OK, NULL);
    TEST_CHECK(log.lines > 0 && log.errors == 0, "creation says what was chosen");
    before = log.lines;
    TEST_CHECK(test_works(context, 100, 1) && log.lines == before, "success is silent");
    TEST_CHECK(clq_buffer_create(context, -1, &buffer) == CLQ_ERROR_INVALID_ARGUMENT, "must fail");
    TEST_CHECK(log.errors == 1 && strcmp(log.last, clq_context_error(context)) == 0, "\"%s\" was logged, the error is \"%s\"",
               log.last, clq_context_error(context));
    clq_context_free(context);
    options.cpu = "nonsense";
    refuse(&options, CLQ_ERROR_INVALID_ARGUMENT, "nonsense");
    TEST_CHECK(log.errors == 2 && strstr(log.last, "nonsense") != NULL, "a failed creation is logged");
    TEST_CHECK(!log.bad, "a line was empty, several, or of an unknown level");
}
END_TEST

START_TEST(error_text)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL), *const other = test_context(NULL, 1, NULL, NULL);
    clq_buffer *buffer;
    char first[512];

    TEST_CHECK(*clq_context_error(context) == '\0', "none yet");
    TEST_CHECK(clq_buffer_create(context, -1, &buffer) == CLQ_ERROR_INVALID_ARGUMENT, "must fail");
    snprintf(first, sizeof first, "%s", clq_context_error(context));
    TEST_CHECK(strstr(first, "clq_buffer_create") != NULL && strstr(first, "-1") != NULL,
               "\"%s\" must name the function and the value", first);
    TEST_CHECK(test_works(context, 10, 1) && strcmp(clq_context_error(context), first) == 0,
               "it is the last call's that failed: \"%s\"", clq_context_error(context));
    TEST_CHECK(clq_buffer_create(context, -2, &buffer) == CLQ_ERROR_INVALID_ARGUMENT &&
                   strcmp(clq_context_error(context), first) != 0,
               "a new error replaces it");
    TEST_CHECK(*clq_context_error(other) == '\0', "each context has its own");
    clq_context_free(other);
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("context");
    TCase *options = test_case(suite, "options"), *lists = test_case(suite, "lists and names"),
          *hooks = test_case(suite, "hooks");

    tcase_add_test(options, defaults);
    tcase_add_test(options, null_arguments);
    tcase_add_test(options, tables_by_name);
    tcase_add_test(options, devices_by_name);
    tcase_add_test(options, thread_numbers);
    tcase_add_test(options, struct_sizes);
    tcase_add_test(options, error_text_is_cut);
    tcase_add_test(options, environment);
    tcase_add_test(options, default_thread_number);
    tcase_add_test(options, rounding);
    tcase_add_test(lists, devices_list);
    tcase_add_test(lists, names);
    tcase_add_test(lists, views);
    tcase_add_test(hooks, allocators);
    tcase_add_test(hooks, buffer_creation);
    tcase_add_test(hooks, logger);
    tcase_add_test(hooks, error_text);
    return test_run(suite);
}
