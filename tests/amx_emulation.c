/* SPDX-License-Identifier: MIT */
/* src/cpu/amx.c with AMX in plain C, after the operations' descriptions in Intel's Software Developer's Manual, vol. 2. */
#include "config.h"

#include "cpu/cpu_ops.h"
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

extern const struct clq_cpu_ops test_amx_emulation;

static struct {
    int palette;
    int32_t row_bytes[8], rows[8];
    unsigned char bytes[8][16][64];
} tiles;

static void require(int condition)
{
    if (!condition) abort(); /* the processor would raise an exception */
}

static void load_config(const void *memory)
{
    const unsigned char *const config = memory;
    memset(&tiles, 0, sizeof tiles);
    tiles.palette = config[0];
    require(tiles.palette == 1 && config[1] == 0);
    for (int i = 2; i < 16; i++)
        require(config[i] == 0);
    for (int t = 0; t < 16; t++) {
        const int row_bytes = config[16 + 2 * t] + 256 * config[17 + 2 * t], rows = config[48 + t];
        require(t < 8 ? row_bytes > 0 && row_bytes <= 64 && rows > 0 && rows <= 16 : row_bytes == 0 && rows == 0);
        if (t >= 8) continue;
        tiles.row_bytes[t] = row_bytes;
        tiles.rows[t] = rows;
    }
}

static void release(void)
{
    memset(&tiles, 0, sizeof tiles);
}

static void zero(int t)
{
    require(tiles.palette == 1);
    memset(tiles.bytes[t], 0, sizeof tiles.bytes[t]);
}

static void load(int t, const void *memory, int64_t stride)
{
    zero(t);
    for (int i = 0; i < tiles.rows[t]; i++)
        memcpy(tiles.bytes[t][i], (const char *)memory + i * stride, (size_t)tiles.row_bytes[t]);
}

static void store(int t, void *memory, int64_t stride)
{
    require(tiles.palette == 1);
    for (int i = 0; i < tiles.rows[t]; i++)
        memcpy((char *)memory + i * stride, tiles.bytes[t][i], (size_t)tiles.row_bytes[t]);
}

static int32_t value(unsigned char byte, int is_signed)
{
    return is_signed ? (int32_t)(signed char)byte : (int32_t)byte;
}

static void multiply(int c, int a, int b, int signed_a, int signed_b)
{
    require(tiles.palette == 1 && c != a && c != b && a != b);
    require(tiles.rows[c] == tiles.rows[a] && tiles.row_bytes[c] == tiles.row_bytes[b] && tiles.row_bytes[a] == 4 * tiles.rows[b]);
    for (int i = 0; i < tiles.rows[a]; i++)
        for (int j = 0; j < tiles.row_bytes[b] / 4; j++) {
            uint32_t sum;
            memcpy(&sum, tiles.bytes[c][i] + 4 * j, sizeof sum);
            for (int k = 0; k < tiles.row_bytes[a]; k++)
                sum += (uint32_t)(value(tiles.bytes[a][i][k], signed_a) * value(tiles.bytes[b][k / 4][4 * j + k % 4], signed_b));
            memcpy(tiles.bytes[c][i] + 4 * j, &sum, sizeof sum);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbusd
#undef _tile_dpbuud
#define _tile_loadconfig load_config
#define _tile_release    release
#define _tile_zero       zero
#define _tile_loadd      load
#define _tile_stored     store
#define _tile_dpbssd(c, a, b) multiply(c, a, b, 1, 1)
#define _tile_dpbsud(c, a, b) multiply(c, a, b, 1, 0)
#define _tile_dpbusd(c, a, b) multiply(c, a, b, 0, 1)
#define _tile_dpbuud(c, a, b) multiply(c, a, b, 0, 0)
#define clq_cpu_amx test_amx_emulation

#include "cpu/amx.c"
