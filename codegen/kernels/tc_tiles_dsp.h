/* SPDX-License-Identifier: MIT-0
 *
 * What the exact Winograd convolutions for Armv7E-M have in common (tc_winograd_dsp.h, tc_polyphase_dsp.h): two tiles
 * of 4x4 outputs side by side, made from sums of products at the positions of a larger transformed tile.
 *
 * Input words carry two channels of x + 128 (unsigned) as high * 65536 + low, so that plain additions with shifts act
 * on both. A kernel's LIFT makes every low part non-negative before the lanes are read apart; its effect is removed by
 * the initial values of the sums. The outputs' transform gives Z = 9 * 2^k * y exactly: the 9 is in the multiplier, the
 * 2^k in the shift of the requantization, and the packer proves the bytes at every threshold (kernels/tiles_dsp.py).
 *
 * Stream, per pair of output channels: for each position initial sums o o o+1 o+1 and weights as in tc_gemm_dsp.h; then
 * for each of the two channels its multiplier, addends, sign mask.
 */
#ifndef TC_TILES_DSP_H
#define TC_TILES_DSP_H

#include "tc_gemm_dsp.h"

typedef struct {
    int32_t input_width;
    int32_t input_channels;  /* a multiple of 4 */
    int32_t output_width;    /* >= 8 */
    int32_t output_channels; /* even */
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t shift;     /* outputs are shifted right by shift + k: 6 to 12 */
    int32_t is_signed; /* 1: the sign mask is subtracted from negative results (ties away from zero) */
    const int32_t *stream;
} tc_conv2d_tiles_s8_dsp_params;

#if TC_HAS_DSP
/* clang-format off */
/* The first pass over columns `step` bytes apart of the rows r4 to `last`, which end at `rows`; `offset` < 0 is the first
 * column's distance from there. `load` reads the rows beyond r7, `low` and `high` transform bytes 0 and 2, 1 and 3 of 4
 * channels. lr 0x00800080; `frame` the bytes of the row ends on the stack, the step behind them. */
#define TC_TILES_COLUMNS_ASM(name, last, frame, load, low, high)        \
    TC_ASSEMBLY void name(TC_UNREAD const int8_t *const *rows, TC_UNREAD int32_t *columns, TC_UNREAD int32_t offset, \
                          TC_UNREAD int32_t step)                       \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldm r0, {r4-" last "}\n"                                   \
            "push {r3}\n"                                               \
            "push {r4-" last "}\n"                                      \
            "mov lr, #0x00800080\n"                                     \
            "1:\n"                                                      \
            "ldm sp, {r4-" last "}\n"                                   \
            "ldr r4, [r4, r2]\n"                                        \
            "ldr r5, [r5, r2]\n"                                        \
            "ldr r6, [r6, r2]\n"                                        \
            "ldr r7, [r7, r2]\n"                                        \
            load low high                                               \
            "ldr r0, [sp, #" frame "]\n"                                \
            "add r1, r1, #4\n"                                          \
            "adds r2, r2, r0\n"                                         \
            "bne 1b\n"                                                  \
            "add sp, sp, #(" frame " + 4)\n"                            \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* One position of a pair of output channels: the sums of channel o are r2 r3, of o+1 r12 lr, their place and its end r8
 * r9. */
#define TC_TILES_POSITION_ASM(groups)                                   \
    "ldmia r1!, {r2, r3, r12, lr}\n"                                    \
    TC_GEMM_STEPS_ASM(groups)                                           \
    "ldrd r8, r9, [sp]\n"

/* An output function writes both tiles of one channel from its sums, rows from the last: rows that don't exist share the
 * first. Its frame ends with the four places and, at + 16, the channels between two columns. */
#define TC_TILES_OUTPUT_PARAMETERS                                      \
    (TC_UNREAD const int32_t *sums, TC_UNREAD const int32_t *constants, TC_UNREAD int8_t *const *rows, \
     TC_UNREAD int32_t offset, TC_UNREAD int32_t channels)
#define TC_TILES_ENTER_ASM                                              \
    "push {r4-r11, lr}\n"                                               \
    "ldr r8, [sp, #36]\n"                                               \
    "ldm r2, {r4-r7}\n"                                                 \
    "add r4, r4, r3\n"                                                  \
    "add r5, r5, r3\n"                                                  \
    "add r6, r6, r3\n"                                                  \
    "add r7, r7, r3\n"                                                  \
    "push {r4-r8}\n"
#define TC_TILES_LEAVE_ASM(frame)                                       \
    "add sp, sp, #" frame "\n"                                          \
    "pop {r4-r11, pc}\n"

/* A transformed column of both tiles: output rows 0 and 1 in r1 r2 and r5 r6, 2 in r3 r4, 3 in a and b. */
#define TC_TILES_SAVE_ASM(column, row_bytes, a, b)                      \
    "strd r1, r2, [sp, #(8 * " #column ")]\n"                           \
    "strd r5, r6, [sp, #(" row_bytes " + 8 * " #column ")]\n"           \
    "strd r3, r4, [sp, #(2 * " row_bytes " + 8 * " #column ")]\n"       \
    "strd " #a ", " #b ", [sp, #(3 * " row_bytes " + 8 * " #column ")]\n"

/* Z in a and b to outputs: k is that of Z, lr the multiplier. */
#define TC_TILES_REQUANTIZE_0(x, addend, mask, shift, k)                \
    "smmla " #x ", " #x ", lr, " #addend "\n"                           \
    "ssat " #x ", #8, " #x ", asr #(" #shift " + " #k ")\n"
#define TC_TILES_REQUANTIZE_1(x, addend, mask, shift, k)                \
    "and r0, " #mask ", " #x ", asr #31\n"                              \
    "smmla " #x ", " #x ", lr, " #addend "\n"                           \
    "sub " #x ", " #x ", r0, lsl #(" #k " - 2)\n"                       \
    "ssat " #x ", #8, " #x ", asr #(" #shift " + " #k ")\n"
#define TC_TILES_BOTH_ASM(is_signed, a, b, addend, mask, shift, k)      \
    TC_TILES_REQUANTIZE_##is_signed(a, addend, mask, shift, k)          \
    TC_TILES_REQUANTIZE_##is_signed(b, addend, mask, shift, k)

/* A row of both tiles, columns 0 1 2 in r1 r2, r5 r6, r3 r4, 3 in a and b. */
#define TC_TILES_STORE_ASM(row, places, a, b)                           \
    "ldr r7, [sp, #(" places " + 4 * " #row ")]\n"                      \
    "ldr r8, [sp, #(" places " + 16)]\n"                                \
    "strb r1, [r7]\n"                                                   \
    "strb r5, [r7, r8]\n"                                               \
    "strb r3, [r7, r8, lsl #1]\n"                                       \
    "strb r2, [r7, r8, lsl #2]\n"                                       \
    "add r7, r7, r8\n"                                                  \
    "strb " #a ", [r7, r8, lsl #1]\n"                                   \
    "strb r6, [r7, r8, lsl #2]\n"                                       \
    "add r7, r7, r8\n"                                                  \
    "strb r4, [r7, r8, lsl #2]\n"                                       \
    "add r7, r7, r8\n"                                                  \
    "strb " #b ", [r7, r8, lsl #2]\n"

#define TC_TILES_FOR_SHIFTS(X, output) \
    X(output, 6) X(output, 7) X(output, 8) X(output, 9) X(output, 10) X(output, 11) X(output, 12)
#define TC_TILES_OUTPUTS(output, shift) output(shift, 0) output(shift, 1)
#define TC_TILES_CASE_OUTPUT(output, shift)                                                 \
    case shift:                                                                             \
        if (p->is_signed) {                                                                 \
            output##_##shift##_1(sums, constants, rows, offset, p->output_channels);        \
        } else {                                                                            \
            output##_##shift##_0(sums, constants, rows, offset, p->output_channels);        \
        }                                                                                   \
        break;
/* clang-format on */
#else
/* Bytes 0 and 2 of x + 128 as one word. */
TC_INLINE int32_t tc_tiles_word(const int8_t *bytes)
{
    return bytes[0] + 128 + (bytes[2] + 128) * 65536;
}

/* Sums of a pair of output channels at `count` positions of `groups` groups of 4 values: of channel o for both tiles,
 * `next` words on of channel o+1. */
TC_INLINE void tc_tiles_sums(const int32_t *v, const int32_t *stream, int32_t groups, int32_t count, int32_t next,
                             int32_t *sums)
{
    for (int32_t position = 0; position < count; position++, sums += 2) {
        int32_t acc[4] = {stream[0], stream[1], stream[2], stream[3]};
        stream += 4;
        for (int32_t k = 0; k < groups; k++, v += 4, stream += 4) {
            for (int32_t i = 0; i < 4; i++) {
                const int32_t *lanes = v + i % 2 * 2;
                const int32_t *weights = stream + i / 2 * 2;
                acc[i] = tc_smlad(lanes[1], weights[1], tc_smlad(lanes[0], weights[0], acc[i]));
            }
        }
        sums[0] = acc[0];
        sums[1] = acc[1];
        sums[next] = acc[2];
        sums[next + 1] = acc[3];
    }
}

/* The output of Z, whose power of two is k; the sign mask is that of k = 2. */
TC_INLINE int8_t tc_tiles_requantize(const tc_conv2d_tiles_s8_dsp_params *p, int32_t z, int32_t multiplier,
                                     int32_t addend, int32_t mask, int32_t k)
{
    const int32_t sign = p->is_signed && z < 0 ? mask * (1 << (k - 2)) : 0;
    return (int8_t)tc_saturate8((tc_smmla(z, multiplier, addend) - sign) >> (p->shift + k));
}
#endif

/* The `count` input rows from `first` on of a step that has n_in, and the 4 output rows from y on. Rows
 * below the last one are computed from any input and overwritten by the first. */
TC_INLINE void tc_tiles_rows_in(const int8_t *const *in_rows, int32_t n_in, int32_t first, int32_t count,
                                const int8_t **rows)
{
    for (int32_t i = 0; i < count; i++) {
        rows[i] = in_rows[first + i < n_in ? first + i : n_in - 1];
    }
}

TC_INLINE void tc_tiles_rows_out(int8_t *const *out_rows, int32_t y, int32_t n_rows, int8_t **rows)
{
    for (int32_t i = 0; i < 4; i++) {
        rows[i] = out_rows[y + i < n_rows ? y + i : y];
    }
}

/* First column of the pair of tiles at x: the last pair ends with the row, making some columns twice. */
TC_INLINE int32_t tc_tiles_begin(int32_t x, int32_t output_width)
{
    return x + 8 <= output_width ? x : output_width - 8;
}

#endif
