/* SPDX-License-Identifier: MIT-0
 * All steps of an LSTM: int8 input, output and hidden state, int16 gates and cell state.
 *
 * Dimension letters: T steps; I inputs; U units; 4 gates in the order input, forget, cell, output.
 */
#ifndef TC_LSTM_H
#define TC_LSTM_H

#include "tc_copy.h"
#include "tc_sigmoid.h"

typedef struct {
    int32_t inputs;                  /* I >= 1 */
    int32_t units;                   /* U >= 1 */
    int32_t input_multiplier[4];     /* Q31: input scale times a gate's input weights' scale, as Q3.12 */
    int32_t input_shift[4];          /* -31..30 */
    int32_t recurrent_multiplier[4]; /* Q31: hidden scale times a gate's recurrent weights' scale, as Q3.12 */
    int32_t recurrent_shift[4];      /* -31..30 */
    int32_t forget_multiplier;       /* Q31: of Q0.15 times the cell state, at the cell's scale */
    int32_t forget_shift;            /* -31..0 */
    int32_t update_multiplier;       /* Q31: of Q0.15 times Q0.15, at the cell's scale */
    int32_t update_shift;            /* -31..0 */
    int32_t cell_limit;              /* of the cell state's magnitude, 0..32768 */
    int32_t tanh_multiplier;         /* 3 * 2^n: from the cell's scale to units of 1 / 12288 with tanh_shift */
    int32_t tanh_shift;              /* 0..31, to the right */
    int32_t output_multiplier;       /* Q31: of Q0.15 times Q0.15, at the output's scale */
    int32_t output_shift;            /* -31..30 */
    int32_t output_zero_point;       /* -128..127 */
    int32_t is_reversed;             /* 1: steps from the last row to the first; 0: from the first to the last */
    const int8_t *input_weights;     /* [4][U][I] */
    const int32_t *input_bias;       /* [4][U], less the input's zero point times the sum of weights */
    const int8_t *recurrent_weights; /* [4][U][U] */
    const int32_t *recurrent_bias;   /* [4][U], minus the hidden zero point times the sum of weights */
    const int8_t *initial_hidden;    /* [U], from which every call starts; NULL where in_rows has the states */
    const int16_t *initial_cell;     /* [U]; NULL as initial_hidden is */
} tc_lstm_s8_params;

static inline int32_t tc_lstm_s8_clamp(int32_t x)
{
    return tc_clamp(x, INT16_MIN, INT16_MAX);
}

/* A gate before its function, Q3.12, in units of 1 / 12288, from the sums of products with input and hidden state:
 * both are requantized, each saturating, and added, saturating. */
static inline int32_t tc_lstm_s8_gate(const tc_lstm_s8_params *p, int32_t gate, int32_t fed, int32_t kept)
{
    return 3 * tc_lstm_s8_clamp(
                   tc_lstm_s8_clamp(tc_requantize(fed, p->input_multiplier[gate], p->input_shift[gate])) +
                   tc_lstm_s8_clamp(tc_requantize(kept, p->recurrent_multiplier[gate], p->recurrent_shift[gate])));
}

/* One step of one unit from the sums of its 4 gates: its cell state, renewed in place, and its output. */
static inline int8_t tc_lstm_s8_unit(const tc_lstm_s8_params *p, int32_t unit, const int32_t *fed, const int32_t *kept,
                                     int8_t *cells)
{
    const int32_t enter = tc_sigmoid_q15(tc_lstm_s8_gate(p, 0, fed[0], kept[0]));
    const int32_t forget = tc_sigmoid_q15(tc_lstm_s8_gate(p, 1, fed[1], kept[1]));
    const int32_t fresh = tc_tanh_q15(tc_lstm_s8_gate(p, 2, fed[2], kept[2]));
    const int32_t leave = tc_sigmoid_q15(tc_lstm_s8_gate(p, 3, fed[3], kept[3]));
    const int32_t old = tc_requantize(forget * tc_load(cells, 2, unit), p->forget_multiplier, p->forget_shift);
    const int32_t added = tc_requantize(enter * fresh, p->update_multiplier, p->update_shift);
    const int32_t sum = tc_lstm_s8_clamp(tc_lstm_s8_clamp(old) + tc_lstm_s8_clamp(added));
    const int32_t cell = tc_clamp(sum, -p->cell_limit, p->cell_limit);
    const int32_t half = p->tanh_shift > 0 ? 1 << (p->tanh_shift - 1) : 0;
    tc_store(cells, 2, unit, cell);
    return tc_requantize_s8(tc_tanh_q15((cell * p->tanh_multiplier + half) >> p->tanh_shift) * leave,
                            p->output_multiplier, p->output_shift, p->output_zero_point, INT8_MIN, INT8_MAX);
}

/* The hidden state before the first step; the cell state is copied to `cells`, where the steps renew it. `states` are
 * the rows behind the input. */
static inline const int8_t *tc_lstm_s8_begin(const tc_lstm_s8_params *p, const int8_t *const *states, int8_t *cells)
{
    const int8_t *hidden = p->initial_hidden;
    const void *kept = p->initial_cell;
    if (hidden == NULL) {
        hidden = states[0];
        kept = states[1];
    }
    tc_copy(cells, kept, 2 * p->units);
    return hidden;
}

/* in_rows: n_rows rows of x [I], then, unless they are constants, the hidden state [U] and the cell state [U] int16;
 * out_rows: n_rows rows of y [U], then both states, which may be the input's. A row of y is the hidden state of the
 * next step. n_rows is T; scratch unused.
 */
static inline void tc_lstm_s8(const tc_lstm_s8_params *p, const int8_t *const *in_rows, int8_t *const *out_rows,
                              int32_t n_rows, void *scratch)
{
    int8_t *cells = out_rows[n_rows + 1];
    const int8_t *hidden = tc_lstm_s8_begin(p, in_rows + n_rows, cells);
    (void)scratch;
    for (int32_t t = 0; t < n_rows; ++t) {
        const int32_t row = p->is_reversed ? n_rows - 1 - t : t;
        for (int32_t u = 0; u < p->units; ++u) {
            int32_t fed[4], kept[4];
            for (int32_t gate = 0; gate < 4; ++gate) {
                const int32_t at = gate * p->units + u;
                fed[gate] = tc_dot_s8(in_rows[row], p->input_weights + at * p->inputs, p->inputs, p->input_bias[at]);
                kept[gate] = tc_dot_s8(hidden, p->recurrent_weights + at * p->units, p->units, p->recurrent_bias[at]);
            }
            out_rows[row][u] = tc_lstm_s8_unit(p, u, fed, kept, cells);
        }
        hidden = out_rows[row];
    }
    tc_copy(out_rows[n_rows], hidden, p->units);
}

#endif /* TC_LSTM_H */
