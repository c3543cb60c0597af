/* SPDX-License-Identifier: MIT */
/* A device, errors and times of the measuring programs. */
#include "gpu_device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *program_name = "";
cl_context cl;
cl_device_id device;
cl_command_queue queue;

double now(void)
{
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void fail(const char *what, const char *text)
{
    fprintf(stderr, "%s: %s: %s\n", program_name, what, text);
    exit(1);
}

void cl_ok(cl_int code, const char *what)
{
    char text[32];
    snprintf(text, sizeof text, "OpenCL error %d", (int)code);
    if (code != CL_SUCCESS) fail(what, text);
}

void ok(clq_context *context, clq_status status, const char *what)
{
    if (status != CLQ_OK) fail(what, clq_context_error(context));
}

void *allocate(int64_t size_bytes)
{
    void *memory = calloc(1, (size_t)size_bytes);
    if (!memory) fail("calloc", "no memory");
    return memory;
}

/* The same name as in the library's list, and as many of that name before it. */
void open_device(int number)
{
    clq_device_info infos[16];
    cl_platform_id platforms[16];
    cl_uint platform_count = 0;
    int32_t count = 0;
    int same = 0;
    char id[32];
    const clq_device_info *info = NULL;
    cl_int code;
    snprintf(id, sizeof id, "opencl:%d", number);
    if (clq_devices_list(infos, 16, &count) != CLQ_OK) fail("clq_devices_list", "failed");
    for (int32_t i = 0; i < count && i < 16; i++)
        if (strcmp(infos[i].id, id) == 0) info = &infos[i];
    if (!info) fail(id, "there is no such device");
    for (const clq_device_info *other = infos; other < info; other++)
        same += strcmp(other->name, info->name) == 0;
    cl_ok(clGetPlatformIDs(16, platforms, &platform_count), "clGetPlatformIDs");
    for (cl_uint p = 0; p < platform_count && p < 16 && !device; p++) {
        cl_device_id devices[16];
        cl_uint n = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 16, devices, &n) != CL_SUCCESS) continue;
        for (cl_uint i = 0; i < n && i < 16 && !device; i++) {
            char name[256] = "";
            clGetDeviceInfo(devices[i], CL_DEVICE_NAME, sizeof name, name, NULL);
            if (strncmp(name, info->name, strlen(info->name)) == 0 && same-- == 0) device = devices[i];
        }
    }
    if (!device) fail(id, "the OpenCL device of that name was not found");
    cl = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    cl_ok(code, "clCreateContext");
    queue = clCreateCommandQueue(cl, device, 0, &code);
    cl_ok(code, "clCreateCommandQueue");
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double run_many(work_fn work, void *argument, clq_context *context, int64_t calls)
{
    const double start = now();
    for (int64_t i = 0; i < calls; i++)
        work(argument);
    if (context) ok(context, clq_context_synchronize(context), "clq_context_synchronize");
    cl_ok(clFinish(queue), "clFinish");
    return now() - start;
}

void close_device(void)
{
    clReleaseCommandQueue(queue);
    clReleaseContext(cl);
}

void time_repeats(work_fn work, void *argument, clq_context *context, int64_t calls, double times[REPEATS])
{
    for (int i = 0; i < REPEATS; i++)
        times[i] = run_many(work, argument, context, calls) / (double)calls;
    qsort(times, REPEATS, sizeof *times, compare_doubles);
}
