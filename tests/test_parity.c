/* SPDX-License-Identifier: MIT */
/*
 * Frozen results of others, of values of our own making, on every table: quotients by division are ONNX Runtime's (QuantizeLinear and
 * DynamicQuantizeLinear, 1.31.1), those by the reciprocal and gradients PyTorch's (quantize_per_tensor, fake_quantize_per_tensor_affine with its mask,
 * _fake_quantize_learnable_per_tensor_affine, 2.15.0), both on a CPU with AVX-512.
 *
 * Where the two libraries go their own ways is left out: PyTorch from |x / s| = 2^31 (quantize_per_tensor) or 2^63 (fake_quantize_per_channel_affine) on, where
 * its integers wrap; its learnable form on ties, where it rounds x / s + z as a float, and with a negative zero point, which it raises by one; the sign of
 * its zeros outside of the range; ONNX Runtime's ranges that overflow to an infinite scale, and its scales below 2^-100.
 */
#include "config.h"

#include "test_support.h"

static const struct {
    clq_dtype dtype;
    uint32_t x, scale;
    int32_t zero_point;
    int divided, multiplied; /* the quantized x by either quotient */
    int inside;              /* the mask, and the fake-quantized x, by the reciprocal */
    uint32_t rounded;
} elements[] = {
    {CLQ_U8, 0x3c300010, 0x3b00000c, 81, 87, 86, 1, 0x3c20000f},
    {CLQ_S8, 0x42700007, 0x41000004, -31, -23, -24, 1, 0x42600007},
    {CLQ_U8, 0xbcc00004, 0x3c800003, 137, 135, 136, 1, 0xbc800003},
    {CLQ_S8, 0xbfc9ffff, 0x3cffffff, -67, -117, -118, 1, 0xbfcbffff},
    {CLQ_U8, 0x40316f0c, 0x3d7435bd, 152, 199, 198, 1, 0x402f86a0},
    {CLQ_U8, 0xbb40000a, 0x3b000007, 255, 253, 254, 1, 0xbb000007},
    {CLQ_U8, 0x3cc00007, 0x3c800005, 170, 172, 171, 1, 0x3c800005},
    {CLQ_S8, 0xba593fed, 0x38e7bba8, 75, 68, 67, 1, 0xba67bba8},
    {CLQ_U8, 0x40700007, 0x3f000004, 11, 19, 18, 1, 0x40600007},
    {CLQ_S8, 0xc35a7fff, 0x3f7fffff, 112, -106, -107, 1, 0xc35affff},
    {CLQ_U8, 0x422a8ffc, 0x3e6a1f8c, 31, 218, 217, 1, 0x422a1aec},
    {CLQ_S8, 0x3c71ffff, 0x397fffff, -39, 21, 22, 1, 0x3c73ffff},
    {CLQ_U8, 0x4060000a, 0x3f800006, 249, 253, 252, 1, 0x40400009},
    {CLQ_U8, 0x3d6ffffe, 0x3bffffff, 76, 83, 84, 1, 0x3d7fffff},
    {CLQ_S8, 0x41f00007, 0x40800004, -36, -28, -29, 1, 0x41e00007},
    {CLQ_S8, 0x3e4afffe, 0x3affffff, -123, -22, -21, 1, 0x3e4bffff},
    {CLQ_U8, 0x43c6fffe, 0x407fffff, 137, 236, 237, 1, 0x43c7ffff},
    {CLQ_S8, 0xbcc5fffe, 0x39ffffff, 47, -2, -3, 1, 0xbcc7ffff},
    {CLQ_U8, 0xbcf1ffff, 0x39ffffff, 85, 25, 24, 1, 0xbcf3ffff},
    {CLQ_S8, 0x3bc00013, 0x3b80000d, 46, 48, 47, 1, 0x3b80000d},
    {CLQ_U8, 0xbdc00016, 0x3d80000f, 227, 225, 226, 1, 0xbd80000f},
    {CLQ_S8, 0x3d400001, 0x3d000001, -83, -81, -82, 1, 0x3d000001},
    {CLQ_S8, 0xbbc00000, 0x3b800000, -127, -128, -128, 0, 0xbb800000},
    {CLQ_U8, 0x41b11401, 0x3db43f1b, 4, 255, 255, 0, 0x41b0b9df},
    {CLQ_U8, 0x43618018, 0x3f80000d, 30, 255, 255, 0, 0x43610017},
    {CLQ_U8, 0xc077800e, 0x3c800007, 247, 0, 0, 0, 0xc077000e},
    {CLQ_S8, 0xc5118001, 0x41800000, 17, -128, -128, 0, 0xc5110000},
    {CLQ_U8, 0x3ead800f, 0x3b00000c, 81, 254, 254, 1, 0x3ead0010},
    {CLQ_U8, 0x3de0a97b, 0x3b00000c, 81, 137, 137, 1, 0x3de00015},
    {CLQ_S8, 0x449e8005, 0x41000004, -31, 127, 127, 1, 0x449e0005},
    {CLQ_S8, 0x43c20004, 0x41000004, -31, 17, 17, 1, 0x43c00006},
    {CLQ_U8, 0xc0098002, 0x3c800003, 137, 0, 0, 1, 0xc0090003},
    {CLQ_S8, 0xbff20001, 0x3cffffff, -67, -128, -128, 1, 0xbff3ffff},
    {CLQ_U8, 0x4169001b, 0x3e00000f, 139, 255, 255, 1, 0x4168001b},
    {CLQ_S8, 0x43008001, 0x3f800000, -2, 127, 127, 1, 0x43010000},
    {CLQ_U8, 0xbb14647b, 0x3739c343, 204, 0, 0, 1, 0xbb140799},
    {CLQ_U8, 0x42c50010, 0x3f80000c, 157, 255, 255, 1, 0x42c40012},
    {CLQ_S8, 0x40080006, 0x3e800007, 118, 126, 126, 1, 0x40000007},
    {CLQ_U8, 0xbdfe8001, 0x39ffffff, 255, 0, 0, 1, 0xbdfeffff},
    {CLQ_S8, 0xbe8c0000, 0x3c7fffff, -110, -128, -128, 1, 0xbe8fffff},
    {CLQ_U8, 0xbfe80006, 0x3e000003, 148, 133, 133, 1, 0xbff00006},
    {CLQ_S8, 0x3db4ffff, 0x3a7fffff, -88, 2, 2, 1, 0x3db3ffff},
    {CLQ_S8, 0x4489800d, 0x4100000e, -10, 127, 127, 1, 0x4489000f},
    {CLQ_U8, 0xc11dffff, 0x3e800000, 40, 1, 1, 1, 0xc11c0000},
    {CLQ_S8, 0xc583ffff, 0x43800000, -111, -127, -127, 1, 0xc5800000},
    {CLQ_U8, 0x39e4e905, 0x372864cd, 212, 255, 255, 1, 0x39e24773},
    {CLQ_S8, 0x444d0001, 0x40ffffff, 24, 127, 127, 1, 0x444dffff},
};

START_TEST(single_elements)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    enum { N = 65 };
    const int64_t n = N, mask_bytes = (N + 7) / 8;

    for (int32_t place = 0; place < place_count; place++) {
        clq_context *const context = places[place].context;
        for (size_t k = 0; k < TEST_COUNT_OF(elements); k++) {
            const float scale = test_float(elements[k].scale);
            float x[N], y[N];
            uint8_t divided[N], multiplied[N], mask[(N + 7) / 8];
            clq_qparams params = {.scheme = {.dtype = elements[k].dtype},
                                  .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                                  .zero_point = clq_tensor_host(CLQ_S32, &elements[k].zero_point, 0, NULL)};
            const clq_tensor from = clq_tensor_host(CLQ_F32, x, 1, &n), to = clq_tensor_host(CLQ_F32, y, 1, &n),
                             bits = clq_tensor_host(CLQ_U8, mask, 1, &mask_bytes);
            clq_tensor q = clq_tensor_host(elements[k].dtype, divided, 1, &n);
            for (int i = 0; i < N; i++)
                x[i] = test_float(elements[k].x);
            test_note("[%s] element %zu", places[place].name, k);
            TEST_OK(context, clq_quantize(context, &from, &params, &q, NULL));
            params.scheme.quotient = CLQ_RECIPROCAL;
            q.data = multiplied;
            TEST_OK(context, clq_quantize(context, &from, &params, &q, NULL));
            TEST_OK(context, clq_fake_quantize(context, &from, &params, &to, &bits, NULL));
            for (int i = 0; i < N; i++) {
                TEST_CHECK(divided[i] == (uint8_t)elements[k].divided, "by division %d", divided[i]);
                TEST_CHECK(multiplied[i] == (uint8_t)elements[k].multiplied, "by the reciprocal %d", multiplied[i]);
                TEST_CHECK(test_bits(y[i]) == elements[k].rounded, "fake-quantized %a", y[i]);
                TEST_CHECK((mask[i / 8] >> i % 8 & 1) == elements[k].inside, "the mask, bit %d", i);
            }
        }
    }
    test_places_close(places, place_count);
}
END_TEST

static const struct {
    uint32_t x[8], scale;
    int32_t zero_point;
    uint8_t y[8];
} tensors[] = {
    {{0xbfa00000, 0x00000000, 0x3eaaaa9f, 0x402df854, 0xbecccccd, 0x40490fdb, 0x3a83126f, 0xba83126f}, 0x3c8d1503, 73, {0, 73, 92, 231, 50, 255, 73, 73}},
    {{0x40a00000, 0x40f00000, 0x40c33333, 0x40a80000, 0x42c80000, 0x42053333, 0x3dcccccd, 0x3f800000}, 0x3ec8c8c9, 0, {13, 19, 16, 13, 255, 85, 0, 3}},
    {{0xc0400000, 0xbe800000, 0xc0f66666, 0xb727c5ac, 0xc0200000, 0xc2c90000, 0xc2808000, 0xbf800000}, 0x3ec9c9ca, 255, {247, 254, 235, 255, 249, 0, 92, 252}},
};

START_TEST(dynamic_tensors)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 8;

    for (int32_t place = 0; place < place_count; place++)
        for (size_t k = 0; k < TEST_COUNT_OF(tensors); k++) {
            float scale = 0;
            int32_t zero_point = 0;
            uint8_t y[8];
            const clq_tensor x = clq_tensor_host(CLQ_F32, tensors[k].x, 1, &n), q = clq_tensor_host(CLQ_U8, y, 1, &n);
            const clq_qparams params = {.scheme = {.dtype = CLQ_U8},
                                        .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                                        .zero_point = clq_tensor_host(CLQ_S32, &zero_point, 0, NULL)};
            test_note("[%s] tensor %zu", places[place].name, k);
            TEST_OK(places[place].context, clq_dynamic_quantize(places[place].context, &x, &params, &q, NULL));
            TEST_CHECK(test_bits(scale) == tensors[k].scale && zero_point == tensors[k].zero_point, "scale %a, zero point %d", scale, (int)zero_point);
            for (int i = 0; i < 8; i++)
                TEST_CHECK(y[i] == tensors[k].y[i], "element %d: %d", i, y[i]);
        }
    test_places_close(places, place_count);
}
END_TEST

/* Sums of so few numbers of so few digits are exact. */
static const struct {
    int32_t qmin, qmax, zero_point;
    float y[12], dx[12], dscale, dzero_point;
} gradients[] = {
    {-8, 7, 3, {0.25f, -0.5f, 1, 1, -2, 1, -1.25f, -1.25f, 0, 1, -2.75f, 0.25f}, {1, 2, -3, 0, 5, 0, 7, 8, -9, 10, 0, 12}, 59.125f, 1.625f},
    {0, 15, 6, {0.25f, -0.5f, 1, 2.25f, -1.5f, 2.25f, -1.25f, -1.25f, 0, 1, -1.5f, 0.25f}, {1, 2, -3, 0, 0, 0, 7, 8, -9, 10, 0, 12}, 11.625f, 1.0f},
};

START_TEST(learnable_gradients)
{
    static const float x[12] = {0.3125f, -0.4375f, 1.0625f, 3, -2, 2.4375f, -1.3125f, -1.1875f, 0, 0.9375f, -7.5f, 0.1875f},
                       dy[12] = {1, 2, -3, 4, 5, -6, 7, 8, -9, 10, -11, 12}, scale = 0.25f;
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 12;

    for (int32_t place = 0; place < place_count; place++)
        for (size_t k = 0; k < TEST_COUNT_OF(gradients); k++) {
            clq_context *const context = places[place].context;
            float y[12], dx[12], dscale = 0, dzero_point = 0;
            const clq_tensor x_view = clq_tensor_host(CLQ_F32, x, 1, &n), dy_view = clq_tensor_host(CLQ_F32, dy, 1, &n),
                             y_view = clq_tensor_host(CLQ_F32, y, 1, &n), dx_view = clq_tensor_host(CLQ_F32, dx, 1, &n),
                             dscale_view = clq_tensor_host(CLQ_F32, &dscale, 0, NULL), dzero_point_view = clq_tensor_host(CLQ_F32, &dzero_point, 0, NULL);
            const clq_qparams params = {
                .scheme = {.dtype = CLQ_S8, .quotient = CLQ_RECIPROCAL, .qmin = gradients[k].qmin, .qmax = gradients[k].qmax},
                .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                .zero_point = clq_tensor_host(CLQ_S32, &gradients[k].zero_point, 0, NULL)};
            test_note("[%s] gradients %zu", places[place].name, k);
            TEST_OK(context, clq_fake_quantize(context, &x_view, &params, &y_view, NULL, NULL));
            TEST_OK(context, clq_fake_quantize_backward_learnable(context, &dy_view, &x_view, &params, 0.5f, &dx_view, &dscale_view, &dzero_point_view));
            for (int i = 0; i < 12; i++)
                TEST_CHECK(test_bits(y[i]) == test_bits(gradients[k].y[i]) && test_bits(dx[i]) == test_bits(gradients[k].dx[i]), "element %d: y %a, dx %a", i,
                           y[i], dx[i]);
            TEST_CHECK(dscale == gradients[k].dscale && dzero_point == gradients[k].dzero_point, "dscale %a, dzero_point %a", dscale, dzero_point);
        }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("parity");
    TCase *const tcase = test_case(suite, "results of others");

    tcase_add_test(tcase, single_elements);
    tcase_add_test(tcase, dynamic_tensors);
    tcase_add_test(tcase, learnable_gradients);
    return test_run(suite);
}
