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

#ifndef CLQ_TESTS_DEVICE_TENSORS_C
#define clq_convert             test_device_convert
#define clq_minmax              test_device_minmax
#define clq_qparams_from_range  test_device_qparams_from_range
#define clq_choose_qparams      test_device_choose_qparams
#define clq_qparams_check       test_device_qparams_check
#define clq_quantize            test_device_quantize
#define clq_dequantize          test_device_dequantize
#define clq_compute_error_stats test_device_compute_error_stats
#endif

#endif
