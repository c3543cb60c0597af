/* SPDX-License-Identifier: MIT */
/*
 * For tests built with TEST_OPENCL: the operations, on whatever mixture of host and device memory chance has it. Each tensor of a call that is a
 * host view is, every other time, copied to a buffer of the context, gaps included and at some offset; what the call wrote is copied back.
 * So the tests written for the CPU try every combination on a device.
 */
#ifndef CLQ_TESTS_DEVICE_TENSORS_H
#define CLQ_TESTS_DEVICE_TENSORS_H

#include <clquant.h>

clq_status test_device_convert(clq_context *context, const clq_tensor *src, const clq_tensor *dst);
clq_status test_device_minmax(clq_context *context, const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo, const clq_tensor *hi,
                              const clq_tensor *counts);
clq_status test_device_qparams_from_range(clq_context *context, const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params);
clq_status test_device_choose_qparams(clq_context *context, const clq_tensor *x, const clq_qparams *params);
clq_status test_device_qparams_check(clq_context *context, const clq_tensor *x, const clq_qparams *params);
clq_status test_device_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, const clq_tensor *counts);
clq_status test_device_dequantize(clq_context *context, const clq_tensor *q, const clq_qparams *params, const clq_tensor *y);
clq_status test_device_compute_error_stats(clq_context *context, const clq_tensor *x, const clq_tensor *q, const clq_qparams *params,
                                           clq_error_stats *stats);
clq_status test_device_dynamic_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q,
                                        const clq_tensor *counts);
clq_status test_device_requantize(clq_context *context, const clq_tensor *x, const clq_qparams *x_params, const clq_qparams *y_params,
                                  const clq_tensor *y);
clq_status test_device_fake_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask,
                                     const clq_tensor *counts);
clq_status test_device_backward(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, const clq_tensor *mask,
                                const clq_tensor *dx);
clq_status test_device_backward_learnable(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, float gradient_scale,
                                          const clq_tensor *dx, const clq_tensor *dscale, const clq_tensor *dzero_point);
clq_status test_device_observe_fake_quantize(clq_context *context, const clq_tensor *x, float averaging, const clq_tensor *lo, const clq_tensor *hi,
                                             const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts);
clq_status test_device_gemm(clq_context *context, const clq_gemm_args *args);
clq_status test_device_packed_create(clq_context *context, const clq_tensor *b, clq_packed **packed);

#ifndef CLQ_TESTS_DEVICE_TENSORS_C
#define clq_convert                          test_device_convert
#define clq_minmax                           test_device_minmax
#define clq_qparams_from_range               test_device_qparams_from_range
#define clq_choose_qparams                   test_device_choose_qparams
#define clq_qparams_check                    test_device_qparams_check
#define clq_quantize                         test_device_quantize
#define clq_dequantize                       test_device_dequantize
#define clq_compute_error_stats              test_device_compute_error_stats
#define clq_dynamic_quantize                 test_device_dynamic_quantize
#define clq_requantize                       test_device_requantize
#define clq_fake_quantize                    test_device_fake_quantize
#define clq_fake_quantize_backward           test_device_backward
#define clq_fake_quantize_backward_learnable test_device_backward_learnable
#define clq_observe_fake_quantize            test_device_observe_fake_quantize
#define clq_gemm                             test_device_gemm
#define clq_packed_create                    test_device_packed_create
#endif

#endif
