/* SPDX-License-Identifier: MIT */
/* SHA-256 against the examples of FIPS 180-4 and another implementation, in pieces cut anywhere. */
#include "config.h"

#include "base/sha256.h"
#include "test_support.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void sum_of(const void *data, size_t size_bytes, uint8_t digest[CLQ_SHA256_BYTES])
{
    struct clq_sha256 sum;
    clq_sha256_start(&sum);
    clq_sha256_add(&sum, data, size_bytes);
    clq_sha256_finish(&sum, digest);
}

static void compare(const uint8_t digest[CLQ_SHA256_BYTES], const char *expected)
{
    char text[2 * CLQ_SHA256_BYTES + 1];
    for (size_t i = 0; i < CLQ_SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    TEST_CHECK(strcmp(text, expected) == 0, "got %s, expected %s", text, expected);
}

/* https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values and FIPS 180-2, appendix B. */
START_TEST(examples)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    uint8_t digest[CLQ_SHA256_BYTES];

    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        test_note("\"%s\"", cases[i].text);
        sum_of(cases[i].text, strlen(cases[i].text), digest);
        compare(digest, cases[i].expected);
    }
    sum_of(NULL, 0, digest);
    compare(digest, cases[0].expected);
}
END_TEST

START_TEST(a_million)
{
    struct clq_sha256 sum;
    uint8_t digest[CLQ_SHA256_BYTES];
    char some[1000];

    memset(some, 'a', sizeof some);
    clq_sha256_start(&sum);
    for (int i = 0; i < 1000; i++)
        clq_sha256_add(&sum, some, sizeof some);
    clq_sha256_finish(&sum, digest);
    compare(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

/* The sum of the sums of 0 to 300 bytes; Python's hashlib gives the same. */
START_TEST(every_length)
{
    struct clq_sha256 all;
    uint8_t data[300], digest[CLQ_SHA256_BYTES];

    clq_sha256_start(&all);
    for (size_t n = 0; n <= sizeof data; n++) {
        for (size_t i = 0; i < n; i++)
            data[i] = (uint8_t)(i * 7 + n);
        sum_of(data, n, digest);
        clq_sha256_add(&all, digest, sizeof digest);
    }
    clq_sha256_finish(&all, digest);
    compare(digest, "60d63ff40b5558727a9b786ac0be9300f7ca58fd9ddd3b2f3681b369018a87dc");
}
END_TEST

START_TEST(pieces)
{
    struct test_random random = test_random_start(70);
    uint8_t whole[CLQ_SHA256_BYTES], digest[CLQ_SHA256_BYTES];
    struct clq_sha256 sum;

    for (int64_t round = test_amount(3000, 300); round > 0; round--) {
        const size_t size_bytes = (size_t)test_between(&random, 0, 400);
        /* Memory that ends where the data ends: nothing beyond it is read. */
        uint8_t *const data = test_guarded(0, size_bytes, true);
        size_t at = 0;
        test_fill_random(&random, data, size_bytes);
        sum_of(data, size_bytes, whole);
        clq_sha256_start(&sum);
        while (at < size_bytes) {
            size_t n = (size_t)test_between(&random, 0, test_chance(&random, 2) ? 5 : 150);
            if (n > size_bytes - at) n = size_bytes - at;
            clq_sha256_add(&sum, data + at, n);
            at += n;
        }
        clq_sha256_finish(&sum, digest);
        TEST_CHECK(memcmp(whole, digest, sizeof whole) == 0, "%zu bytes", size_bytes);
    }
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("sha256");
    TCase *const tcase = test_case(suite, "sha256");
    tcase_add_test(tcase, examples);
    tcase_add_test(tcase, a_million);
    tcase_add_test(tcase, every_length);
    tcase_add_test(tcase, pieces);
    return test_run(suite);
}
