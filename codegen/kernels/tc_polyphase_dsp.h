/* SPDX-License-Identifier: MIT-0
 *
 * Conv2D 3x3 with stride 2, int8, by Winograd's F(4x4, 2x2) over the four phases of the image, in integers, on
 * Armv7E-M: 81 products of channels instead of 144 for 4x4 outputs. Shapes: input rows [input_width][input_channels],
 * output rows [output_width][output_channels]; 4 output rows at a time, 8 columns (two tiles) of them at once.
 *
 * Along each axis the even inputs meet kernel taps 0 and 2, the odd ones tap 1: y[o] = w0 x[2o] + w2 x[2o+2] + w1
 * x[2o+1]. Both sums have the same output transform, so their products are added before it. A tile has 5x5 positions;
 * row and column 4 exist for the even phase only. As in tc_winograd_dsp.h words carry two channels, LIFT keeps the low
 * ones from borrowing, and Z = A' M A = 36 * y exactly; the 9 is in the multiplier, the 4 in the shift.
 *
 * Stream, per pair of output channels: the positions (0..3, 0..3) column by column, (4, 0..3), (0..3, 4), (4, 4):
 * initial sums o o o+1 o+1, then for each phase that the position has, even-even, even-odd, odd-even, odd-odd, the
 * weights as in tc_gemm_dsp.h; then for each of the two channels multiplier, addend, sign mask, gap.
 */
#ifndef TC_POLYPHASE_DSP_H
#define TC_POLYPHASE_DSP_H

#include "tc_gemm_dsp.h"

#include <stddef.h>

typedef struct {
    int32_t input_width;
    int32_t input_channels;  /* a multiple of 4, at most 32 */
    int32_t output_width;    /* >= 8 */
    int32_t output_channels; /* even */
    int32_t pad_left;
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t activation_min;
    int32_t activation_max;
    int32_t shift;     /* outputs are shifted right by shift + 2: 6 to 12 */
    int32_t is_signed; /* 1: the sign mask is subtracted from negative results (ties away from zero) */
    const int32_t *stream;
} tc_conv2d_polyphase_s8_dsp_params;

#define TC_POLYPHASE_LIFT 5120
#define TC_POLYPHASE_COLUMNS 17
#define TC_POLYPHASE_ROWS 9
#define TC_POLYPHASE_SUM_WORDS 100
#define TC_POLYPHASE_COLUMN_WORDS 306
#define TC_POLYPHASE_PAIR_WORDS(channels) (100 + 81 * (channels))

#if TC_HAS_DSP
/* clang-format off */
/* One lane pair of a column of even rows r4-r8 (a0..a4) to T at r1 + `at`, a row of T each. */
#define TC_POLYPHASE_EVEN_ASM(rotation, at)                             \
    "sxtab16 r0, lr, r5" rotation "\n"                                  \
    "sxtab16 r3, lr, r7" rotation "\n"                                  \
    "sxtab16 r9, lr, r6" rotation "\n"                                  \
    "sxtab16 r10, lr, r4" rotation "\n"                                 \
    "sxtab16 r11, lr, r8" rotation "\n"                                 \
    "sub r12, r3, r0\n"                                                 \
    "str r12, [r1, #(" #at " + 3 * 68)]\n"                              \
    "sub r11, r11, r9\n"                                                \
    "sub r11, r11, r12, lsl #1\n"                                       \
    "str r11, [r1, #(" #at " + 4 * 68)]\n"                              \
    TC_POLYPHASE_SHARED_ASM(at)
#define TC_POLYPHASE_ODD_ASM(rotation, at)                              \
    "sxtab16 r0, lr, r5" rotation "\n"                                  \
    "sxtab16 r3, lr, r7" rotation "\n"                                  \
    "sxtab16 r9, lr, r6" rotation "\n"                                  \
    "sxtab16 r10, lr, r4" rotation "\n"                                 \
    "sub r12, r3, r0\n"                                                 \
    "str r12, [r1, #(" #at " + 3 * 68)]\n"                              \
    TC_POLYPHASE_SHARED_ASM(at)
#define TC_POLYPHASE_SHARED_ASM(at)                                     \
    "sub r3, r3, r9\n"                                                  \
    "sub r11, r3, r0, lsl #1\n"                                         \
    "str r11, [r1, #(" #at " + 68)]\n"                                  \
    "sub r0, r0, r9\n"                                                  \
    "add r3, r3, r0, lsl #1\n"                                          \
    "str r3, [r1, #(" #at " + 2 * 68)]\n"                               \
    "sub r10, r10, r9\n"                                                \
    "add r10, r12, r10, lsl #1\n"                                       \
    "str r10, [r1, #" #at "]\n"

/* The first pass over columns `step` bytes apart: `rows` are row ends, `offset` < 0 the first column's distance. */
#define TC_POLYPHASE_COLUMNS_ASM(name, last, load, transform)           \
    TC_ASSEMBLY void name(TC_UNREAD const int8_t *const *rows, TC_UNREAD int32_t *columns, TC_UNREAD int32_t offset, \
                          TC_UNREAD int32_t step)                       \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldm r0, {r4-" last "}\n"                                   \
            "push {r3}\n"                                               \
            "push {r4-r8}\n"                                            \
            "mov lr, #0x00800080\n"                                     \
            "1:\n"                                                      \
            "ldm sp, {r4-" last "}\n"                                   \
            "ldr r4, [r4, r2]\n"                                        \
            "ldr r5, [r5, r2]\n"                                        \
            "ldr r6, [r6, r2]\n"                                        \
            "ldr r7, [r7, r2]\n" load                                   \
            transform("", 0)                                            \
            transform(", ror #8", 612)                                  \
            "ldr r0, [sp, #20]\n"                                       \
            "add r1, r1, #4\n"                                          \
            "adds r2, r2, r0\n"                                         \
            "bne 1b\n"                                                  \
            "add sp, sp, #24\n"                                         \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }
TC_POLYPHASE_COLUMNS_ASM(tc_polyphase_even_asm, "r8", "ldr r8, [r8, r2]\n", TC_POLYPHASE_EVEN_ASM)
TC_POLYPHASE_COLUMNS_ASM(tc_polyphase_odd_asm, "r7", "", TC_POLYPHASE_ODD_ASM)

/* One row of one tile from T at r0 + `from` to V at r1 + `at`, positions `stride` bytes apart, the fifth at r12 + `at`;
 * r3 is r1 + 2 * stride. */
#define TC_POLYPHASE_ROW_ASM(from, at, stride)                          \
    "add r2, r0, #(" #from ")\n"                                        \
    "ldm r2, {r4-r8}\n"                                                 \
    "add r7, r7, #5120\n"                                               \
    "add r8, r8, #15360\n"                                              \
    "sub r9, r7, r5\n"                                                  \
    "str r9, [r3, #(" #at " + " stride ")]\n"                           \
    "sub r8, r8, r6\n"                                                  \
    "sub r8, r8, r9, lsl #1\n"                                          \
    "str r8, [r12, #" #at "]\n"                                         \
    TC_POLYPHASE_ROW_SHARED_ASM(at, stride)
#define TC_POLYPHASE_ROW_ODD_ASM(from, at, stride)                      \
    "add r2, r0, #(" #from ")\n"                                        \
    "ldm r2, {r4-r7}\n"                                                 \
    "add r7, r7, #5120\n"                                               \
    "sub r9, r7, r5\n"                                                  \
    "str r9, [r3, #(" #at " + " stride ")]\n"                           \
    TC_POLYPHASE_ROW_SHARED_ASM(at, stride)
#define TC_POLYPHASE_ROW_SHARED_ASM(at, stride)                         \
    "sub r7, r7, r6\n"                                                  \
    "sub r10, r7, r5, lsl #1\n"                                         \
    "str r10, [r1, #(" #at " + " stride ")]\n"                          \
    "sub r5, r5, r6\n"                                                  \
    "add r7, r7, r5, lsl #1\n"                                          \
    "str r7, [r3, #" #at "]\n"                                          \
    "sub r4, r4, r6\n"                                                  \
    "add r4, r9, r4, lsl #1\n"                                          \
    "str r4, [r1, #" #at "]\n"

/* Both tiles of both halves of a row: even columns, then odd ones `odd` bytes on in V. */
#define TC_POLYPHASE_ROW_BODY(stride, odd)                              \
    TC_POLYPHASE_ROW_ASM(0, 0, stride)                                  \
    TC_POLYPHASE_ROW_ASM(16, 8, stride)                                 \
    TC_POLYPHASE_ROW_ASM(612, 4, stride)                                \
    TC_POLYPHASE_ROW_ASM(628, 12, stride)                               \
    "add r1, r1, #(" odd ")\n"                                          \
    "add r3, r3, #(" odd ")\n"                                          \
    TC_POLYPHASE_ROW_ODD_ASM(36, 0, stride)                             \
    TC_POLYPHASE_ROW_ODD_ASM(52, 8, stride)                             \
    TC_POLYPHASE_ROW_ODD_ASM(648, 4, stride)                            \
    TC_POLYPHASE_ROW_ODD_ASM(664, 12, stride)

/* The second pass over 4 channels: `count` rows of T to V. Positions of a row are 16 C words apart (2 C in row 4, whose V
 * is `last`), those of a column 4 C; the fifth column's 2 C. */
#define TC_POLYPHASE_ROWS4(groups)                                      \
    TC_ASSEMBLY void tc_polyphase_rows_##groups(TC_UNREAD const int32_t *columns, TC_UNREAD int32_t *v, \
                                                TC_UNREAD int32_t *fifth)   \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "mov r12, r2\n"                                             \
            "add r3, r1, #(512 * " #groups ")\n"                        \
            "mov lr, #4\n"                                              \
            "1:\n"                                                      \
            TC_POLYPHASE_ROW_BODY("(256 * " #groups ")", "16 * " #groups) \
            "add r0, r0, #68\n"                                         \
            "add r1, r1, #(48 * " #groups ")\n"                         \
            "add r3, r3, #(48 * " #groups ")\n"                         \
            "add r12, r12, #(32 * " #groups ")\n"                       \
            "subs lr, lr, #1\n"                                         \
            "bne 1b\n"                                                  \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }                                                                   \
    TC_ASSEMBLY void tc_polyphase_last_##groups(TC_UNREAD const int32_t *columns, TC_UNREAD int32_t *v, \
                                                TC_UNREAD int32_t *fifth)   \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "mov r12, r2\n"                                             \
            "add r3, r1, #(64 * " #groups ")\n"                         \
            TC_POLYPHASE_ROW_BODY("(32 * " #groups ")", "16 * " #groups) \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* Sums of a pair of output channels at positions of `steps` groups: channel o of both tiles, 200 bytes on o+1. */
#define TC_POLYPHASE_SUMS(steps)                                        \
    TC_ASSEMBLY void tc_polyphase_sums_##steps(TC_UNREAD const int32_t *v, TC_UNREAD const int32_t *stream, \
                                               TC_UNREAD int32_t *sums, TC_UNREAD const int32_t *end)       \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "push {r2, r3}\n"                                           \
            "1:\n"                                                      \
            "ldmia r1!, {r2, r3, r12, lr}\n"                            \
            TC_GEMM_STEPS_ASM(steps)                                    \
            "ldrd r8, r9, [sp]\n"                                       \
            "strd r12, lr, [r8, #200]\n"                                \
            "strd r2, r3, [r8], #8\n"                                   \
            "str r8, [sp]\n"                                            \
            "cmp r8, r9\n"                                              \
            "bne 1b\n"                                                  \
            "add sp, sp, #8\n"                                          \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* A' of five values in place: 0 in a, 1 in c, 2 in b, 3 in e. */
#define TC_POLYPHASE_INVERSE_ASM(a, b, c, d, e)                         \
    "add " #b ", " #b ", " #c "\n"                                      \
    "sub " #c ", " #b ", " #c ", lsl #1\n"                              \
    "add " #a ", " #a ", " #b "\n"                                      \
    "add " #a ", " #a ", " #d "\n"                                      \
    "add " #b ", " #b ", " #d ", lsl #2\n"                              \
    "add " #e ", " #e ", " #c "\n"                                      \
    "add " #e ", " #e ", " #d ", lsl #3\n"                              \
    "add " #c ", " #c ", " #d ", lsl #1\n"
#define TC_POLYPHASE_TILES_ASM                                          \
    TC_POLYPHASE_INVERSE_ASM(r1, r3, r5, r7, r9)                        \
    TC_POLYPHASE_INVERSE_ASM(r2, r4, r6, r8, r10)
#define TC_POLYPHASE_SAVE_ASM(column)                                   \
    TC_POLYPHASE_TILES_ASM                                              \
    "strd r1, r2, [sp, #(8 * " #column ")]\n"                           \
    "strd r5, r6, [sp, #(40 + 8 * " #column ")]\n"                      \
    "strd r3, r4, [sp, #(80 + 8 * " #column ")]\n"                      \
    "strd r9, r10, [sp, #(120 + 8 * " #column ")]\n"
#define TC_POLYPHASE_COLUMN_ASM(column)                                 \
    "ldrd r9, r10, [r0, #(128 - 24 * " #column ")]\n"                   \
    "ldmia r0!, {r1-r8}\n"                                              \
    TC_POLYPHASE_SAVE_ASM(column)

#define TC_POLYPHASE_REQUANTIZE_0(x, shift)                             \
    "smmla " #x ", " #x ", lr, r12\n"                                   \
    "ssat " #x ", #8, " #x ", asr #(" #shift " + 2)\n"
#define TC_POLYPHASE_REQUANTIZE_1(x, shift)                             \
    "and r0, r11, " #x ", asr #31\n"                                    \
    "smmla " #x ", " #x ", lr, r12\n"                                   \
    "sub " #x ", " #x ", r0\n"                                          \
    "ssat " #x ", #8, " #x ", asr #(" #shift " + 2)\n"
#define TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, row)              \
    "add r0, sp, #(40 * " #row ")\n"                                    \
    "ldm r0, {r1-r10}\n"                                                \
    TC_POLYPHASE_TILES_ASM                                              \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r1, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r2, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r3, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r4, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r5, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r6, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r9, shift)                      \
    TC_POLYPHASE_REQUANTIZE_##is_signed(r10, shift)                     \
    "ldr r7, [sp, #(160 + 4 * " #row ")]\n"                             \
    "ldr r8, [sp, #176]\n"                                              \
    "strb r1, [r7]\n"                                                   \
    "strb r5, [r7, r8]\n"                                               \
    "strb r3, [r7, r8, lsl #1]\n"                                       \
    "strb r2, [r7, r8, lsl #2]\n"                                       \
    "add r7, r7, r8\n"                                                  \
    "strb r9, [r7, r8, lsl #1]\n"                                       \
    "strb r6, [r7, r8, lsl #2]\n"                                       \
    "add r7, r7, r8\n"                                                  \
    "strb r4, [r7, r8, lsl #2]\n"                                       \
    "add r7, r7, r8\n"                                                  \
    "strb r10, [r7, r8, lsl #2]\n"

/* Both tiles of one channel from its 25 sums; lr multiplier, r12 addend, r11 sign mask. Frame: 0 the tiles after the
 * first pass, 160 output rows, 176 channels. Rows are written from the last: rows that don't exist share the first. */
#define TC_POLYPHASE_OUTPUT(shift, is_signed)                           \
    TC_ASSEMBLY void tc_polyphase_output_##shift##_##is_signed(         \
        TC_UNREAD const int32_t *sums, TC_UNREAD const int32_t *constants, TC_UNREAD int8_t *const *rows, \
        TC_UNREAD int32_t offset, TC_UNREAD int32_t channels)           \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "ldr r8, [sp, #36]\n"                                       \
            "ldm r2, {r4-r7}\n"                                         \
            "add r4, r4, r3\n"                                          \
            "add r5, r5, r3\n"                                          \
            "add r6, r6, r3\n"                                          \
            "add r7, r7, r3\n"                                          \
            "push {r4-r8}\n"                                            \
            "ldrd lr, r12, [r1]\n"                                      \
            "ldr r11, [r1, #8]\n"                                       \
            "sub sp, sp, #160\n" ::: TC_ASSEMBLY_CLOBBERS);             \
        __asm__ volatile(TC_POLYPHASE_COLUMN_ASM(0) TC_POLYPHASE_COLUMN_ASM(1) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_COLUMN_ASM(2) TC_POLYPHASE_COLUMN_ASM(3) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(                                               \
            "add r0, r0, #32\n"                                         \
            "ldm r0, {r1-r10}\n"                                        \
            TC_POLYPHASE_SAVE_ASM(4) ::: TC_ASSEMBLY_CLOBBERS);         \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 3) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 2) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 1) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 0) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(                                               \
            "add sp, sp, #180\n"                                        \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

#define TC_POLYPHASE_FOR_GROUPS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define TC_POLYPHASE_FOR_STEPS(X) \
    TC_POLYPHASE_FOR_GROUPS(X) X(10) X(12) X(14) X(16) X(20) X(24) X(28) X(32)
#define TC_POLYPHASE_FOR_SHIFTS(X) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define TC_POLYPHASE_OUTPUTS(shift) TC_POLYPHASE_OUTPUT(shift, 0) TC_POLYPHASE_OUTPUT(shift, 1)
TC_POLYPHASE_FOR_GROUPS(TC_POLYPHASE_ROWS4)
TC_POLYPHASE_FOR_STEPS(TC_POLYPHASE_SUMS)
TC_POLYPHASE_FOR_SHIFTS(TC_POLYPHASE_OUTPUTS)

#define TC_POLYPHASE_CASE_ROWS(groups)                                                  \
    case 4 * groups:                                                                    \
        tc_polyphase_rows_##groups(columns, v, v + 72 * channels);                      \
        tc_polyphase_last_##groups(columns + 68, v + 64 * channels, v + 80 * channels); \
        tc_polyphase_rows_##groups(columns + 85, v + 2 * channels, v + 73 * channels);  \
        break;
#define TC_POLYPHASE_CASE_SUMS(steps)                       \
    case steps:                                             \
        tc_polyphase_sums_##steps(v, stream, sums, end);    \
        break;
#define TC_POLYPHASE_CASE_OUTPUT(shift)                                                             \
    case shift:                                                                                     \
        if (p->is_signed) {                                                                         \
            tc_polyphase_output_##shift##_1(sums, constants, rows, offset, p->output_channels);     \
        } else {                                                                                    \
            tc_polyphase_output_##shift##_0(sums, constants, rows, offset, p->output_channels);     \
        }                                                                                           \
        break;
/* clang-format on */
#else
/* B' of five words (four when there is no fifth output), `stride` apart on both sides. */
TC_INLINE void tc_polyphase_forward(const int32_t *a, int32_t lift, int32_t *out, int32_t stride, int32_t *fifth)
{
    const int32_t a3 = a[3] + lift;
    out[0] = 2 * (a[0] - a[2]) + a3 - a[1];
    out[stride] = a3 - a[2] - 2 * a[1];
    out[2 * stride] = a3 + 2 * a[1] - 3 * a[2];
    out[3 * stride] = a3 - a[1];
    if (fifth) {
        *fifth = a[4] + 3 * lift - a[2] - 2 * (a3 - a[1]);
    }
}

/* A' of five sums, modulo 2^32. */
TC_INLINE void tc_polyphase_inverse(const uint32_t *m, uint32_t *z, int32_t stride)
{
    const uint32_t e = m[1] + m[2], f = m[1] - m[2];
    z[0] = m[0] + e + m[3];
    z[stride] = f + 2u * m[3];
    z[2 * stride] = e + 4u * m[3];
    z[3 * stride] = f + 8u * m[3] + m[4];
}

/* One row of T for both tiles and halves; positions `stride` apart, the fifth at `fifth`, odd columns C words on. */
TC_INLINE void tc_polyphase_row(const int32_t *columns, int32_t channels, int32_t stride, int32_t *v, int32_t *fifth)
{
    for (int32_t i = 0; i < 4; i++) {
        const int32_t tile = i & 1, half = i >> 1;
        const int32_t *from = columns + 153 * half + 4 * tile;
        const int32_t at = 2 * tile + half;
        tc_polyphase_forward(from, TC_POLYPHASE_LIFT, v + at, stride, fifth + at);
        tc_polyphase_forward(from + 9, TC_POLYPHASE_LIFT, v + channels + at, stride, NULL);
    }
}
#endif

/* The first pass over `count` columns `step` bytes apart, the first `at` bytes into the rows: even rows 0, 2, .. 8,
 * then odd rows 1, 3, 5, 7. */
TC_INLINE void tc_polyphase_columns(const int8_t *const *rows, int32_t at, int32_t count, int32_t step,
                                    int32_t *columns)
{
    if (count <= 0) {
        return;
    }
#if TC_HAS_DSP
    const int32_t bytes = count * step;
    const int32_t end = at + bytes;
    const int8_t *const even[5] = {rows[0] + end, rows[2] + end, rows[4] + end, rows[6] + end, rows[8] + end};
    const int8_t *const odd[4] = {rows[1] + end, rows[3] + end, rows[5] + end, rows[7] + end};
    tc_polyphase_even_asm(even, columns, -bytes, step);
    tc_polyphase_odd_asm(odd, columns + 5 * TC_POLYPHASE_COLUMNS, -bytes, step);
#else
    for (int32_t x = 0; x < count; x++) {
        for (int32_t half = 0; half < 2; half++) {
            int32_t *column = columns + 153 * half + x;
            int32_t a[TC_POLYPHASE_ROWS];
            for (int32_t i = 0; i < TC_POLYPHASE_ROWS; i++) {
                const int8_t *bytes = rows[i] + at + x * step + half;
                a[(i & 1 ? 5 : 0) + i / 2] = bytes[0] + 128 + (bytes[2] + 128) * 65536;
            }
            tc_polyphase_forward(a, 0, column, TC_POLYPHASE_COLUMNS, column + 4 * TC_POLYPHASE_COLUMNS);
            tc_polyphase_forward(a + 5, 0, column + 5 * TC_POLYPHASE_COLUMNS, TC_POLYPHASE_COLUMNS, NULL);
        }
    }
#endif
}

/* The second pass over 4 channels. */
TC_INLINE void tc_polyphase_rows(const int32_t *columns, int32_t channels, int32_t *v)
{
#if TC_HAS_DSP
    switch (channels) {
        TC_POLYPHASE_FOR_GROUPS(TC_POLYPHASE_CASE_ROWS)
    default:
        break;
    }
#else
    for (int32_t i = 0; i < 4; i++) {
        const int32_t *even = columns + TC_POLYPHASE_COLUMNS * i;
        int32_t *fifth = v + (72 + 2 * i) * channels;
        tc_polyphase_row(even, channels, 16 * channels, v + 4 * i * channels, fifth);
        tc_polyphase_row(even + 5 * TC_POLYPHASE_COLUMNS, channels, 16 * channels, v + (4 * i + 2) * channels,
                         fifth + channels);
    }
    tc_polyphase_row(columns + 4 * TC_POLYPHASE_COLUMNS, channels, 2 * channels, v + 64 * channels, v + 80 * channels);
#endif
}

/* Sums of a pair of output channels at `count` positions of `steps` groups of 4 values. */
TC_INLINE void tc_polyphase_sums(const int32_t *v, const int32_t *stream, int32_t steps, int32_t count, int32_t *sums)
{
    const int32_t *end = sums + 2 * count;
#if TC_HAS_DSP
    switch (steps) {
        TC_POLYPHASE_FOR_STEPS(TC_POLYPHASE_CASE_SUMS)
    default:
        break;
    }
#else
    for (; sums != end; sums += 2) {
        int32_t acc[4] = {stream[0], stream[1], stream[2], stream[3]};
        stream += 4;
        for (int32_t k = 0; k < steps; k++, v += 4, stream += 4) {
            for (int32_t i = 0; i < 4; i++) {
                const int32_t *lanes = v + i % 2 * 2;
                const int32_t *weights = stream + i / 2 * 2;
                acc[i] = tc_smlad(lanes[1], weights[1], tc_smlad(lanes[0], weights[0], acc[i]));
            }
        }
        sums[0] = acc[0];
        sums[1] = acc[1];
        sums[50] = acc[2];
        sums[51] = acc[3];
    }
#endif
}

/* All sums of a pair of output channels. */
TC_INLINE void tc_polyphase_all_sums(const int32_t *v, const int32_t *stream, int32_t channels, int32_t *sums)
{
    const int32_t groups = channels / 4;
    tc_polyphase_sums(v, stream, 4 * groups, 16, sums);
    stream += 16 * (4 + 4 * channels);
    tc_polyphase_sums(v + 64 * channels, stream, 2 * groups, 8, sums + 32);
    stream += 8 * (4 + 2 * channels);
    tc_polyphase_sums(v + 80 * channels, stream, groups, 1, sums + 48);
}

/* Two tiles of one channel, `offset` bytes into the four output rows. */
TC_INLINE void tc_polyphase_output(const tc_conv2d_polyphase_s8_dsp_params *p, const int32_t *sums,
                                   const int32_t *constants, int8_t *const *rows, int32_t offset)
{
#if TC_HAS_DSP
    switch (p->shift) {
        TC_POLYPHASE_FOR_SHIFTS(TC_POLYPHASE_CASE_OUTPUT)
    default:
        break;
    }
#else
    for (int32_t tile = 0; tile < 2; tile++) {
        uint32_t m[5], t[20], z[4];
        for (int32_t column = 0; column < 5; column++) {
            for (int32_t row = 0; row < 5; row++) {
                const int32_t at = column == 4 ? 20 + row : row == 4 ? 16 + column : 4 * column + row;
                m[row] = (uint32_t)sums[2 * at + tile];
            }
            tc_polyphase_inverse(m, t + column, 5);
        }
        for (int32_t row = 3; row >= 0; row--) {
            tc_polyphase_inverse(t + 5 * row, z, 1);
            for (int32_t x = 0; x < 4; x++) {
                const int32_t sign = p->is_signed && (int32_t)z[x] < 0 ? constants[2] : 0;
                const int32_t r = tc_smmla((int32_t)z[x], constants[0], constants[1]) - sign;
                rows[row][offset + (4 * tile + x) * p->output_channels] = (int8_t)tc_saturate8(r >> (p->shift + 2));
            }
        }
    }
#endif
}

/* Two tiles of all input channels, whose first output column is x, as V. */
TC_INLINE void tc_polyphase_input(const tc_conv2d_polyphase_s8_dsp_params *p, const int8_t *const *rows, int32_t x,
                                  int32_t *columns, int32_t *v)
{
    const int32_t first = 2 * x - p->pad_left;
    const int32_t left = first < 0 ? -first : 0;
    const int32_t over = first + TC_POLYPHASE_COLUMNS - p->input_width;
    const int32_t stop = TC_POLYPHASE_COLUMNS - (over > 0 ? over : 0);
    const int8_t z = (int8_t)p->input_zero_point;
    const int8_t pixel[4] = {z, z, z, z};
    const int8_t *const padding[TC_POLYPHASE_ROWS] = {pixel, pixel, pixel, pixel, pixel, pixel, pixel, pixel, pixel};
    for (int32_t i = 0; i < TC_POLYPHASE_COLUMNS; i++) {
        if (i < left || i >= stop) {
            tc_polyphase_columns(padding, 0, 1, 4, columns + (i & 1 ? 9 : 0) + i / 2);
        }
    }
    for (int32_t c = 0; c < p->input_channels; c += 4) {
        for (int32_t odd = 0; odd < 2; odd++) {
            const int32_t begin = left + ((left ^ odd) & 1);
            tc_polyphase_columns(rows, (first + begin) * p->input_channels + c, (stop - begin + 1) / 2,
                                 2 * p->input_channels, columns + (odd ? 9 : 0) + begin / 2);
        }
        tc_polyphase_rows(columns, p->input_channels, v + c);
    }
}

/* in_rows: 2 * n_rows + 1 rows, top first, padding rows filled with the zero point. scratch: 324 * input_channels +
 * 1624 bytes. */
TC_INLINE void tc_conv2d_polyphase_s8_dsp(const tc_conv2d_polyphase_s8_dsp_params *p, const int8_t *const *in_rows,
                                          int8_t *const *out_rows, int32_t n_rows, void *scratch)
{
    int32_t *sums = (int32_t *)scratch;
    int32_t *columns = sums + TC_POLYPHASE_SUM_WORDS;
    int32_t *v = columns + TC_POLYPHASE_COLUMN_WORDS;
    for (int32_t y = 0; y < n_rows; y += 4) {
        /* Rows below the last one are computed from any input and overwritten by the first. */
        const int8_t *rows[TC_POLYPHASE_ROWS];
        int8_t *outs[4];
        for (int32_t i = 0; i < TC_POLYPHASE_ROWS; i++) {
            rows[i] = in_rows[2 * y + i < 2 * n_rows + 1 ? 2 * y + i : 2 * n_rows];
        }
        for (int32_t i = 0; i < 4; i++) {
            outs[i] = out_rows[y + i < n_rows ? y + i : y];
        }
        for (int32_t x = 0; x < p->output_width; x += 8) {
            /* The last pair of tiles ends with the row, making some columns twice. */
            const int32_t begin = x + 8 <= p->output_width ? x : p->output_width - 8;
            const int32_t *stream = p->stream;
            tc_polyphase_input(p, rows, begin, columns, v);
            for (int32_t o = 0; o < p->output_channels; o += 2) {
                const int32_t offset = begin * p->output_channels + o;
                const int32_t *constants = stream + TC_POLYPHASE_PAIR_WORDS(p->input_channels);
                tc_polyphase_all_sums(v, stream, p->input_channels, sums);
                tc_polyphase_output(p, sums, constants, outs, offset);
                tc_polyphase_output(p, sums + 50, constants + 4, outs, offset + 1);
                stream = constants + 8;
            }
        }
    }
    if (p->activation_min > -128 || p->activation_max < 127) {
        for (int32_t i = 0; i < n_rows; i++) {
            tc_clamp_row(out_rows[i], p->output_width * p->output_channels, p->activation_min, p->activation_max);
        }
    }
}

#endif
