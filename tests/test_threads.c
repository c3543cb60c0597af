/* SPDX-License-Identifier: MIT */
/* Contexts at work on several threads: the hook, several contexts at once, another thread's context, matrix products, a forked child. */
#include "config.h"

#include "test_support.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The hook is called for large tensors, with every task once, and not at all on one thread. */
START_TEST(parallel_for_hook)
{
    struct test_hook hook = {.threads = 3};
    clq_context *context = test_context(NULL, 4, test_parallel_for, &hook);

    TEST_CHECK(test_works(context, 300000, 1), "wrong result");
    TEST_CHECK(hook.calls >= 1 && hook.tasks >= 2 && hook.tasks <= 64 * hook.calls, "%lld calls, %lld tasks",
               (long long)hook.calls, (long long)hook.tasks);
    clq_context_free(context);
    hook.calls = hook.tasks = 0;
    context = test_context(NULL, 1, test_parallel_for, &hook);
    TEST_CHECK(test_works(context, 300000, 2) && hook.calls == 0, "one thread needs no hook");
    /* Nor for sums, which are made in parts on one thread too. */
    float *const x = calloc(300000, sizeof *x), *const dx = calloc(300000, sizeof *dx), dscale = 0, scale = 0.5f;
    const int64_t n = 300000;
    const clq_tensor tensor = clq_tensor_host(CLQ_F32, x, 1, &n), gradient = clq_tensor_host(CLQ_F32, dx, 1, &n),
                     sum = clq_tensor_host(CLQ_F32, &dscale, 0, NULL);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    clq_error_stats stats;
    TEST_CHECK(x != NULL && dx != NULL, "no memory for the test");
    TEST_OK(context, clq_compute_error_stats(context, &tensor, &tensor, NULL, &stats));
    TEST_CHECK(stats.count == n && hook.calls == 0, "one thread needs no hook for sums");
    TEST_OK(context, clq_fake_quantize_backward_learnable(context, &tensor, &tensor, &params, 1.0f, &gradient, &sum, NULL));
    TEST_CHECK(dscale == 0.0f && hook.calls == 0, "one thread needs no hook for gradients");
    free(x);
    free(dx);
    clq_context_free(context);
}
END_TEST

/* One after another is always right. */
static void serial_for(void *opaque, int64_t tasks, clq_task_fn task, void *argument)
{
    ++*(int *)opaque;
    for (int64_t i = tasks - 1; i >= 0; i--)
        task(argument, i);
}

START_TEST(serial_hook)
{
    int calls = 0;
    clq_context *const context = test_context(NULL, 4, serial_for, &calls);

    TEST_CHECK(test_works(context, 300000, 1) && calls > 0, "%d calls", calls);
    clq_context_free(context);
}
END_TEST

struct worker {
    int32_t table;
    bool good;
    clq_context *shared; /* NULL: one of its own */
};

static void *work_alone(void *opaque)
{
    struct worker *const worker = opaque;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct test_hook hook = {.threads = 2};
    clq_context *context = worker->shared;
    const int64_t rounds = test_amount(30, 5);
    const float scale = 0;
    float x = 1;
    int8_t q = 0;
    const clq_tensor source = clq_tensor_host(CLQ_F32, &x, 0, NULL), target = clq_tensor_host(CLQ_S8, &q, 0, NULL);
    const clq_qparams wrong = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};

    options.cpu = test_table(worker->table % test_table_count())->ops->name;
    options.num_threads = 2;
    options.parallel_for = test_parallel_for;
    options.parallel_for_opaque = &hook;
    worker->good = context != NULL || clq_context_create(&options, &context) == CLQ_OK;
    for (int64_t i = 0; worker->good && i < rounds; i++) {
        worker->good = test_works(context, i % 10 == 0 ? 140000 : 1000 + i, (uint64_t)(i + worker->table));
        /* An error of one's own, which nobody else sees. */
        worker->good = worker->good && clq_quantize(context, &source, &wrong, &target, NULL) == CLQ_ERROR_PARAMETER &&
                       strstr(clq_context_error(context), "scale") != NULL;
    }
    if (worker->shared == NULL) clq_context_free(context);
    return NULL;
}

START_TEST(contexts_on_threads)
{
    struct worker workers[6];
    pthread_t threads[6];

    for (int32_t i = 0; i < 6; i++) {
        workers[i] = (struct worker){.table = i};
        TEST_CHECK(pthread_create(&threads[i], NULL, work_alone, &workers[i]) == 0, "no thread");
    }
    for (int32_t i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    for (int32_t i = 0; i < 6; i++)
        TEST_CHECK(workers[i].good, "the context of thread %d failed", (int)i);
}
END_TEST

/* One thread at a time may be another one than the creator. */
START_TEST(context_of_another_thread)
{
    clq_context *const context = test_context(NULL, 2, NULL, NULL);
    struct worker worker = {.shared = context};
    pthread_t thread;

    TEST_CHECK(pthread_create(&thread, NULL, work_alone, &worker) == 0, "no thread");
    pthread_join(thread, NULL);
    TEST_CHECK(worker.good && test_works(context, 1000, 9), "wrong result");
    clq_context_free(context);
}
END_TEST

/* ---- matrix products */

enum { M = 130, N = 190, K = 260 }; /* enough for five threads */

/* Operands of a product, and what it must give. */
struct product {
    int8_t a[M * K];
    uint8_t b[K * N];
    int32_t bias[N];
    int32_t zero_points[M];
    int32_t expected[M * N];
};

static struct product *make_product(void)
{
    struct test_random random = test_random_start(390);
    struct product *const p = malloc(sizeof *p);
    TEST_CHECK(p != NULL, "no memory for the test");
    test_fill_random(&random, p->a, sizeof p->a);
    test_fill_random(&random, p->b, sizeof p->b);
    test_fill_random(&random, p->bias, sizeof p->bias);
    for (int i = 0; i < M; i++)
        p->zero_points[i] = i % 100 - 50;
    return p;
}

/* The first m rows, with zero points by row and a bias; B as it is if `packed` is NULL. Without a context, the reference. */
static clq_status multiply(clq_context *context, const struct product *p, int64_t m, const clq_packed *packed, int32_t *result)
{
    const int64_t a_shape[2] = {m, K}, b_shape[2] = {K, N}, c_shape[2] = {m, N}, n = N;
    const clq_tensor a = clq_tensor_host(CLQ_S8, p->a, 2, a_shape), b = clq_tensor_host(CLQ_U8, p->b, 2, b_shape),
                     c = clq_tensor_host(CLQ_S32, result, 2, c_shape), bias = clq_tensor_host(CLQ_S32, p->bias, 1, &n);
    const clq_qparams a_params = {.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                  .zero_point = clq_tensor_host(CLQ_S32, p->zero_points, 1, &m)};
    const clq_gemm_args args = {.a = &a, .b = packed == NULL ? &b : NULL, .packed_b = packed, .c = &c, .bias = &bias, .a_params = &a_params};
    if (context != NULL) return clq_gemm(context, &args);
    ref_gemm(&args);
    return CLQ_OK;
}

/* On every table the bits of 1 thread, of 2 and of 5, which get parts. */
START_TEST(product_on_threads)
{
    struct product *const p = make_product();
    const int64_t b_shape[2] = {K, N};
    const clq_tensor b = clq_tensor_host(CLQ_U8, p->b, 2, b_shape);
    static int32_t result[M * N];

    multiply(NULL, p, M, NULL, p->expected);
    for (int32_t threads = 1; threads <= 5; threads += threads == 1 ? 1 : 3) {
        struct test_hook hook = {.threads = threads};
        clq_context *const context = test_context(test_table(_i)->ops->name, threads, test_parallel_for, &hook);
        clq_packed *packed = NULL;
        test_note("%s, %d threads", test_table(_i)->ops->name, (int)threads);
        TEST_OK(context, clq_packed_create(context, &b, &packed));
        for (int k = 0; k < 4; k++) {
            const int64_t m = k < 2 ? M : 16;
            memset(result, 0x5a, sizeof result);
            TEST_OK(context, multiply(context, p, m, k % 2 == 0 ? packed : NULL, result));
            TEST_CHECK(memcmp(result, p->expected, (size_t)(m * N) * sizeof *result) == 0, "wrong result of form %d", k);
        }
        TEST_CHECK((threads == 1) == (hook.calls == 0), "%lld calls of the hook", (long long)hook.calls);
        clq_packed_free(packed);
        clq_context_free(context);
    }
    free(p);
}
END_TEST

struct multiplier {
    const struct product *product;
    const clq_packed *packed;
    bool good;
};

static void *multiply_alone(void *opaque)
{
    struct multiplier *const self = opaque;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct test_hook hook = {.threads = 2};
    clq_context *context = NULL;
    int32_t *const result = malloc(M * N * sizeof *result);
    const int64_t rounds = test_amount(30, 5);

    options.num_threads = 2;
    options.parallel_for = test_parallel_for;
    options.parallel_for_opaque = &hook;
    self->good = result != NULL && clq_context_create(&options, &context) == CLQ_OK;
    for (int64_t i = 0; self->good && i < rounds; i++) {
        const int64_t m = i % 2 == 0 ? M : 1 + i;
        memset(result, 0x5a, M * N * sizeof *result);
        self->good = multiply(context, self->product, m, self->packed, result) == CLQ_OK &&
                     memcmp(result, self->product->expected, (size_t)(m * N) * sizeof *result) == 0;
    }
    clq_context_free(context);
    free(result);
    return NULL;
}

/* Packed by a context that is gone, used by several at once. */
START_TEST(packed_on_threads)
{
    struct product *const p = make_product();
    const int64_t b_shape[2] = {K, N};
    const clq_tensor b = clq_tensor_host(CLQ_U8, p->b, 2, b_shape);
    clq_context *const context = test_context(NULL, 2, NULL, NULL);
    struct multiplier multipliers[4];
    pthread_t threads[4];
    clq_packed *packed = NULL;

    multiply(NULL, p, M, NULL, p->expected);
    TEST_OK(context, clq_packed_create(context, &b, &packed));
    clq_context_free(context);
    for (int i = 0; i < 4; i++) {
        multipliers[i] = (struct multiplier){.product = p, .packed = packed};
        TEST_CHECK(pthread_create(&threads[i], NULL, multiply_alone, &multipliers[i]) == 0, "no thread");
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        TEST_CHECK(multipliers[i].good, "the products of thread %d failed", i);
    clq_packed_free(packed);
    free(p);
}
END_TEST

/* ---- fork */

/* In a child the parent's context runs on the calling thread: no hook is called, no pool of threads is waited for. */
START_TEST(fork_after_work)
{
    struct test_hook hook = {.threads = 3};
    clq_context *const hooked = test_context(NULL, 4, test_parallel_for, &hook), *const plain = test_context(NULL, 4, NULL, NULL);
    int status = 0;
    pid_t child;

    TEST_CHECK(test_works(hooked, 300000, 1) && test_works(plain, 300000, 2), "wrong result in the parent");
    hook.calls = 0;
    child = fork();
    if (child == 0) {
        alarm(60);
        clq_context *fresh = NULL;
        clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
        options.num_threads = 1;
        const bool good = test_works(hooked, 300000, 3) && test_works(plain, 300000, 4) && hook.calls == 0 &&
                          clq_context_create(&options, &fresh) == CLQ_OK && test_works(fresh, 300000, 5);
        clq_context_free(fresh);
        clq_context_free(hooked);
        clq_context_free(plain);
        _exit(good ? 0 : 1);
    }
    TEST_CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
    TEST_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status 0x%x", (unsigned)status);
    TEST_CHECK(test_works(hooked, 300000, 6) && test_works(plain, 300000, 7) && hook.calls > 0,
               "wrong result in the parent afterwards");
    clq_context_free(hooked);
    clq_context_free(plain);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tcase = test_case(suite, "threads");

    tcase_add_test(tcase, parallel_for_hook);
    tcase_add_test(tcase, serial_hook);
    tcase_add_test(tcase, contexts_on_threads);
    tcase_add_test(tcase, context_of_another_thread);
    tcase_add_loop_test(tcase, product_on_threads, 0, test_table_count());
    tcase_add_test(tcase, packed_on_threads);
    tcase_add_test(tcase, fork_after_work);
    return test_run(suite);
}
