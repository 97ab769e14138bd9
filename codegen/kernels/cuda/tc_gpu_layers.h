/* SPDX-License-Identifier: MIT-0
 * Every layer that is not a matrix product: each output element (softmax: each vector) on its own thread.
 *
 * A layer is a struct with `count`, how many of these one sample has, and operator()(sample, i), which makes number i.
 * Tensors are int8, samples one after the other. The arithmetic is tc_math.h's, as on the microcontroller.
 */
#ifndef TC_GPU_LAYERS_H
#define TC_GPU_LAYERS_H

#include "tc_gpu.h"

/* x * multiplier * 2^(shift - 31) as tc_requantize has it. */
typedef struct {
    int32_t multiplier, shift;
} tc_scale;

TC_HD int8_t tc_to_s8(int32_t value, int32_t low, int32_t high)
{
    return (int8_t)tc_clamp(value, low, high);
}

/* Convolution in groups, [h][w][c] -> [oh][ow][filters]: `group_filters` outputs share `group_channels` inputs, and
 * weights are [kh][kw][group_channels][filters], so that neighbouring threads read neighbouring bytes. Depthwise is a
 * group for every channel. */
struct tc_grouped {
    int32_t count;
    int32_t height, width, channels, filters, group_channels, group_filters;
    int32_t out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width;
    int32_t pad_top, pad_left;
    int32_t input_zero_point, output_zero_point, activation_min, activation_max;
    const int8_t *weights;
    const int32_t *bias, *multiplier, *shift;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int32_t filter = i % filters, place = i / filters;
        const int32_t top = place / out_width * stride_height - pad_top;
        const int32_t left = place % out_width * stride_width - pad_left;
        const int8_t *in =
            input + (int64_t)sample * height * width * channels + filter / group_filters * group_channels;
        int32_t sum = bias[filter];
        for (int32_t ky = 0; ky < kernel_height; ++ky) {
            const int32_t y = top + ky * dilation_height;
            for (int32_t kx = 0; kx < kernel_width; ++kx) {
                const int32_t x = left + kx * dilation_width;
                if (y >= 0 && y < height && x >= 0 && x < width) {
                    const int8_t *from = in + (y * width + x) * channels;
                    const int8_t *with = weights + (ky * kernel_width + kx) * group_channels * filters + filter;
                    for (int32_t c = 0; c < group_channels; ++c) {
                        sum = tc_add_wrap(sum, (from[c] - input_zero_point) * with[c * filters]);
                    }
                }
            }
        }
        output[(int64_t)sample * count + i] =
            tc_requantize_s8(sum, multiplier[filter], shift[filter], output_zero_point, activation_min, activation_max);
    }
};

/* Transposed convolution, [h][w][c] -> [oh][ow][filters], weights [kh][kw][c][filters]: an output sums the taps whose
 * distance from it, the cut (pad_top, pad_left) added, is a multiple of the stride. */
struct tc_transposed {
    int32_t count;
    int32_t height, width, channels, filters;
    int32_t out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
    int32_t input_zero_point, output_zero_point, activation_min, activation_max;
    const int8_t *weights;
    const int32_t *bias, *multiplier, *shift;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int32_t filter = i % filters, place = i / filters;
        const int32_t y = place / out_width + pad_top, x = place % out_width + pad_left;
        const int8_t *in = input + (int64_t)sample * height * width * channels;
        int32_t sum = bias[filter];
        for (int32_t ky = y % stride_height; ky < kernel_height && ky <= y; ky += stride_height) {
            const int32_t row = (y - ky) / stride_height;
            for (int32_t kx = x % stride_width; kx < kernel_width && kx <= x; kx += stride_width) {
                const int32_t column = (x - kx) / stride_width;
                if (row < height && column < width) {
                    const int8_t *from = in + (row * width + column) * channels;
                    const int8_t *with = weights + (ky * kernel_width + kx) * channels * filters + filter;
                    for (int32_t c = 0; c < channels; ++c) {
                        sum = tc_add_wrap(sum, (from[c] - input_zero_point) * with[c * filters]);
                    }
                }
            }
        }
        output[(int64_t)sample * count + i] =
            tc_requantize_s8(sum, multiplier[filter], shift[filter], output_zero_point, activation_min, activation_max);
    }
};

/* Maximum or mean over windows of [h][w][c]; taps outside the image don't count. */
template <bool IS_MAXIMUM> struct tc_pool {
    int32_t count;
    int32_t height, width, channels, out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
    int32_t activation_min, activation_max;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int32_t channel = i % channels, place = i / channels;
        const int32_t top = place / out_width * stride_height - pad_top;
        const int32_t left = place % out_width * stride_width - pad_left;
        const int8_t *in = input + (int64_t)sample * height * width * channels + channel;
        int32_t sum = 0, taps = 0, largest = INT8_MIN;
        for (int32_t y = tc_max(top, 0); y < tc_min(top + kernel_height, height); ++y) {
            for (int32_t x = tc_max(left, 0); x < tc_min(left + kernel_width, width); ++x) {
                const int32_t value = in[(y * width + x) * channels];
                largest = tc_max(largest, value);
                sum += value;
                ++taps;
            }
        }
        int32_t result = largest;
        if (!IS_MAXIMUM) {
            taps = tc_max(taps, 1);
            result = (sum + (sum > 0 ? taps / 2 : -(taps / 2))) / taps;
        }
        output[(int64_t)sample * count + i] = tc_to_s8(result, activation_min, activation_max);
    }
};

/* One side of an element-wise operator: element i is data[sample * stride + i % period]. A constant has stride 0. */
typedef struct {
    const int8_t *data;
    int32_t stride, period, zero_point;
    tc_scale scale;
} tc_operand;

TC_HD int32_t tc_operand_value(const tc_operand &from, int32_t sample, int32_t i)
{
    return from.data[(int64_t)sample * from.stride + i % from.period] - from.zero_point;
}

enum tc_binary_kind { TC_ADD, TC_SUB, TC_MUL, TC_MAXIMUM, TC_MINIMUM };

/* Add and Sub bring both sides to one scale with 20 more bits first; maximum and minimum compare q as it is. */
template <tc_binary_kind KIND> struct tc_binary {
    int32_t count;
    tc_operand a, b;
    tc_scale scale;
    int32_t output_zero_point, activation_min, activation_max;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int32_t x = tc_operand_value(a, sample, i), y = tc_operand_value(b, sample, i);
        int32_t result;
        if (KIND == TC_MAXIMUM || KIND == TC_MINIMUM) {
            result = KIND == TC_MAXIMUM ? tc_max(x, y) : tc_min(x, y);
        } else {
            int32_t exact = x * y;
            if (KIND != TC_MUL) {
                const int32_t left = tc_requantize(x * (1 << 20), a.scale.multiplier, a.scale.shift);
                const int32_t right = tc_requantize(y * (1 << 20), b.scale.multiplier, b.scale.shift);
                exact = KIND == TC_ADD ? left + right : left - right;
            }
            result = tc_requantize(exact, scale.multiplier, scale.shift);
        }
        output[(int64_t)sample * count + i] =
            tc_to_s8(tc_add_wrap(result, output_zero_point), activation_min, activation_max);
    }
};

/* x >= 0 ? x : alpha * x; alpha repeats every `period` elements. */
struct tc_prelu {
    int32_t count;
    int32_t period;
    int32_t input_zero_point, alpha_zero_point, output_zero_point;
    tc_scale above, below;
    const int8_t *alpha;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int64_t at = (int64_t)sample * count + i;
        const int32_t x = input[at] - input_zero_point;
        const int32_t sloped = x * (alpha[i % period] - alpha_zero_point);
        const int32_t result = x >= 0 ? tc_requantize(x, above.multiplier, above.shift)
                                      : tc_requantize(sloped, below.multiplier, below.shift);
        output[at] = tc_to_s8(tc_add_wrap(result, output_zero_point), INT8_MIN, INT8_MAX);
    }
};

/* Mean over up to three axes; each axis is a length and how far a step along it moves through the input. */
struct tc_mean {
    int32_t count;
    int32_t input_elements;
    int32_t kept[3], kept_step[3], reduced[3], reduced_step[3];
    int32_t offset; /* taps times the input's zero point */
    tc_scale scale;
    int32_t output_zero_point;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int8_t *in = input + (int64_t)sample * input_elements + i % kept[2] * kept_step[2] +
                           i / kept[2] % kept[1] * kept_step[1] + i / kept[2] / kept[1] * kept_step[0];
        int32_t sum = -offset;
        for (int32_t p = 0; p < reduced[0]; ++p) {
            for (int32_t q = 0; q < reduced[1]; ++q) {
                for (int32_t r = 0; r < reduced[2]; ++r) {
                    sum += in[p * reduced_step[0] + q * reduced_step[1] + r * reduced_step[2]];
                }
            }
        }
        output[(int64_t)sample * count + i] =
            tc_requantize_s8(sum, scale.multiplier, scale.shift, output_zero_point, INT8_MIN, INT8_MAX);
    }
};

/* Elements of a box of up to four axes from one place to another, rescaled on the way unless `is_copy`. Concatenation,
 * slice, transpose, padding (after a fill), clamp and rescaling. */
struct tc_move {
    int32_t count;
    int32_t size[4], from_step[4], to_step[4];
    int32_t from_elements, from_start; /* of a sample (0: a constant); of the box */
    int32_t to_elements, to_start;
    int32_t is_copy;
    int32_t input_zero_point, output_zero_point, activation_min, activation_max;
    tc_scale scale;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        int64_t from = (int64_t)sample * from_elements + from_start, to = (int64_t)sample * to_elements + to_start;
        for (int32_t axis = 3; axis >= 0; --axis) {
            const int32_t at = i % size[axis];
            i /= size[axis];
            from += (int64_t)at * from_step[axis];
            to += (int64_t)at * to_step[axis];
        }
        int32_t value = input[from];
        if (!is_copy) {
            value = tc_requantize(value - input_zero_point, scale.multiplier, scale.shift) + output_zero_point;
        }
        output[to] = tc_to_s8(value, activation_min, activation_max);
    }
};

struct tc_fill {
    int32_t count;
    int32_t value;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        output[(int64_t)sample * count + i] = (int8_t)value;
    }
};

/* Resizing [h][w][c] to [oh][ow][c]. Along each axis an output mixes inputs `low` and `high`, the latter with weight in
 * 1/1024; the nearest neighbour is `low` with weight 0. Rounds half away from zero. */
struct tc_resize {
    int32_t count;
    int32_t height, width, channels, out_width;
    const int32_t *rows_low, *rows_high, *rows_weight;          /* [oh] */
    const int32_t *columns_low, *columns_high, *columns_weight; /* [ow] */
    const int8_t *input;
    int8_t *output;

    TC_HD int32_t column(const int8_t *in, int32_t x, int32_t y) const
    {
        const int32_t top = in[(rows_low[y] * width + x) * channels],
                      bottom = in[(rows_high[y] * width + x) * channels];
        return top * (1024 - rows_weight[y]) + bottom * rows_weight[y];
    }

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int32_t place = i / channels, y = place / out_width, x = place % out_width;
        const int8_t *in = input + (int64_t)sample * height * width * channels + i % channels;
        const int32_t left = column(in, columns_low[x], y), right = column(in, columns_high[x], y);
        const int32_t sum = left * (1024 - columns_weight[x]) + right * columns_weight[x];
        output[(int64_t)sample * count + i] = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
    }
};

/* Any unary function: 256 results, index q + 128. */
struct tc_table {
    int32_t count;
    const int8_t *table;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int64_t at = (int64_t)sample * count + i;
        output[at] = table[input[at] + 128];
    }
};

/* Softmax or log-softmax over vectors of params.classes; `count` counts vectors. */
struct tc_softmax {
    int32_t count;
    tc_softmax_s8_params params;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int64_t at = ((int64_t)sample * count + i) * params.classes;
        tc_softmax_s8_vector(&params, input + at, output + at);
    }
};

struct tc_log_softmax {
    int32_t count;
    tc_log_softmax_s8_params params;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int64_t at = ((int64_t)sample * count + i) * params.exp.classes;
        tc_log_softmax_s8_vector(&params, input + at, output + at);
    }
};

/* LayerNorm over vectors of params.channels; `count` counts vectors. */
struct tc_layer_norm {
    int32_t count;
    tc_layer_norm_s8_params params;
    const int8_t *input;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int64_t at = ((int64_t)sample * count + i) * params.channels;
        tc_layer_norm_vector(&params, input + at, output + at);
    }
};

/* Product of two activations; first_size, second_size and `size` are elements of one group. */
struct tc_matmul {
    int32_t count;
    tc_matmul_s8_params params;
    int32_t first_size;
    int32_t second_size;
    int32_t size;
    const int8_t *input;
    const int8_t *second;
    int8_t *output;

    TC_HD void operator()(int32_t sample, int32_t i) const
    {
        const int64_t group = ((int64_t)sample * count + i) / size;
        output[(int64_t)sample * count + i] =
            tc_matmul_output(&params, input + group * first_size, second + group * second_size, i % size);
    }
};

#if defined(__CUDACC__)
template <class LAYER> __global__ void tc_layer_kernel(const LAYER layer, int32_t batch)
{
    const int64_t all = (int64_t)layer.count * batch;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += (int64_t)gridDim.x * blockDim.x) {
        layer((int32_t)(i / layer.count), (int32_t)(i % layer.count));
    }
}
#endif

template <class LAYER> void tc_layer_launch(const LAYER &layer, int32_t batch)
{
#if defined(__CUDACC__)
    const int64_t blocks = ((int64_t)layer.count * batch + 255) / 256;
    tc_layer_kernel<LAYER><<<(unsigned)(blocks < 65535 ? blocks : 65535), 256>>>(layer, batch);
#else
    for (int32_t sample = 0; sample < batch; ++sample) {
        for (int32_t i = 0; i < layer.count; ++i) {
            layer(sample, i);
        }
    }
#endif
}

#endif /* TC_GPU_LAYERS_H */
