/* SPDX-License-Identifier: MIT-0
 * The host program around a generated network: reads samples, runs batches, times, writes outputs.
 *
 *   PROGRAM --input FILE --output FILE [--batch N] [--tensors DIR] [--warmup N] [--repeat N]
 *
 * FILE holds int8 samples one after the other; DIR gets every tensor of every sample as <number>.bin. One JSON object
 * on stdout: device, versions, batch, microseconds of the network and of each layer (null on the host).
 */
#ifndef TC_GPU_PROGRAM_H
#define TC_GPU_PROGRAM_H

#include <string>

#include "tc_gpu_device.h"

typedef struct {
    const void *data;
    size_t bytes;
} tc_constant;

/* `alias` is the tensor whose memory this one shares, or its own number. */
typedef struct {
    const char *name;
    size_t bytes; /* of one sample */
    int32_t alias;
} tc_tensor;

/* What layers read and write: device pointers by number. */
typedef struct {
    void **constants;
    int8_t **tensors;
    int32_t batch;
} tc_run;

typedef struct {
    const char *name;
    void (*launch)(const tc_run *run);
} tc_step;

typedef struct {
    const char *name;
    const tc_constant *constants;
    size_t constant_count;
    const tc_tensor *tensors;
    size_t tensor_count;
    const tc_step *steps;
    size_t step_count;
    const int32_t *inputs, *outputs; /* tensor numbers */
    size_t input_count, output_count;
} tc_network;

typedef struct {
    const char *input, *output, *tensors;
    int32_t batch;
    int warmup, repeat;
} tc_arguments;

inline int tc_positive(const char *flag, const char *text)
{
    char *end = NULL;
    const long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 1 || value > 1000000) {
        tc_stop(TC_EXIT_USAGE, flag, "must be a number from 1 to 1000000");
    }
    return (int)value;
}

inline tc_arguments tc_parse(int argc, char **argv)
{
    tc_arguments found = {NULL, NULL, NULL, 1, 50, 200};
    for (int i = 1; i < argc; i += 2) {
        const std::string flag = argv[i];
        if (i + 1 == argc) {
            tc_stop(TC_EXIT_USAGE, argv[i], "needs a value");
        }
        const char *value = argv[i + 1];
        if (flag == "--input") {
            found.input = value;
        } else if (flag == "--output") {
            found.output = value;
        } else if (flag == "--tensors") {
            found.tensors = value;
        } else if (flag == "--batch") {
            found.batch = tc_positive(argv[i], value);
        } else if (flag == "--warmup") {
            found.warmup = tc_positive(argv[i], value);
        } else if (flag == "--repeat") {
            found.repeat = tc_positive(argv[i], value);
        } else {
            tc_stop(TC_EXIT_USAGE, argv[i], "is not a flag of this program");
        }
    }
    if (found.input == NULL || found.output == NULL) {
        tc_stop(TC_EXIT_USAGE, argv[0], "needs --input FILE and --output FILE");
    }
    return found;
}

inline std::vector<int8_t> tc_read_file(const char *path, size_t sample_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        tc_stop(TC_EXIT_USAGE, path, "cannot be read");
    }
    std::vector<int8_t> data;
    int8_t part[65536];
    for (size_t got; (got = fread(part, 1, sizeof part, file)) > 0;) {
        data.insert(data.end(), part, part + got);
    }
    fclose(file);
    if (data.empty() || data.size() % sample_bytes != 0) {
        tc_stop(TC_EXIT_USAGE, path, "does not hold a whole number of samples");
    }
    return data;
}

inline void tc_write_file(const char *path, const int8_t *data, size_t bytes, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (file == NULL || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
        tc_stop(TC_EXIT_USAGE, path, "cannot be written");
    }
}

inline void tc_append(const std::string &path, const int8_t *device, size_t bytes, bool is_first)
{
    std::vector<int8_t> host(bytes);
    tc_from_device(host.data(), device, bytes);
    tc_write_file(path.c_str(), host.data(), bytes, is_first ? "wb" : "ab");
}

inline void tc_launch_step(const tc_step &step, const tc_run &run)
{
    step.launch(&run);
    tc_launched(step.name);
}

inline void tc_launch_all(const tc_network &network, const tc_run &run)
{
    for (size_t i = 0; i < network.step_count; ++i) {
        tc_launch_step(network.steps[i], run);
    }
}

/* Times of the network and of each layer; nulls on a host. A layer is timed in runs of ten, one after the other. */
inline void tc_print_times(const tc_network &network, const tc_run &run, const tc_arguments &arguments)
{
    printf(", \"network_us\": ");
    tc_print_us(tc_time_us([&] { tc_launch_all(network, run); }, arguments.warmup, arguments.repeat, 1));
    printf(", \"layers\": [");
    for (size_t i = 0; i < network.step_count; ++i) {
        const tc_step &step = network.steps[i];
        printf("%s{\"name\": ", i == 0 ? "" : ", ");
        tc_print_string(step.name);
        printf(", \"us\": ");
        tc_print_us(tc_time_us([&] { tc_launch_step(step, run); }, arguments.warmup, arguments.repeat, 10));
        printf("}");
    }
    printf("]");
}

/* Bytes of one sample of the tensors named. */
inline size_t tc_sample_bytes(const tc_network &network, const int32_t *names, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
        bytes += network.tensors[names[i]].bytes;
    }
    return bytes;
}

/* Runs all samples batch by batch; `results` gets the outputs in the layout of the output file. */
inline void tc_run_samples(const tc_network &network, const tc_arguments &arguments, const tc_run &memory,
                           const std::vector<int8_t> &samples, size_t count, std::vector<int8_t> &results)
{
    for (size_t first = 0; first < count; first += (size_t)arguments.batch) {
        const size_t now = std::min((size_t)arguments.batch, count - first);
        tc_run run = memory;
        run.batch = (int32_t)now;
        size_t at = 0;
        for (size_t i = 0; i < network.input_count; ++i) {
            const int32_t number = network.inputs[i];
            const size_t bytes = network.tensors[number].bytes;
            tc_to_device(run.tensors[number], samples.data() + at + first * bytes, now * bytes);
            at += count * bytes;
        }
        tc_launch_all(network, run);
        tc_finish("network");
        at = 0;
        for (size_t i = 0; i < network.output_count; ++i) {
            const int32_t number = network.outputs[i];
            const size_t bytes = network.tensors[number].bytes;
            tc_from_device(results.data() + at + first * bytes, run.tensors[number], now * bytes);
            at += count * bytes;
        }
        for (size_t i = 0; arguments.tensors != NULL && i < network.tensor_count; ++i) {
            const std::string path = std::string(arguments.tensors) + "/" + std::to_string(i) + ".bin";
            tc_append(path, run.tensors[i], network.tensors[i].bytes * now, first == 0);
        }
    }
}

inline int tc_main(const tc_network &network, int argc, char **argv)
{
    const tc_arguments arguments = tc_parse(argc, argv);
    const size_t sample_bytes = tc_sample_bytes(network, network.inputs, network.input_count);
    const std::vector<int8_t> samples = tc_read_file(arguments.input, sample_bytes);
    const size_t count = samples.size() / sample_bytes;
    std::vector<int8_t> results(count * tc_sample_bytes(network, network.outputs, network.output_count));
    tc_self_test();
    std::vector<void *> constants(network.constant_count);
    for (size_t i = 0; i < network.constant_count; ++i) {
        constants[i] = tc_allocate(network.constants[i].bytes);
        tc_to_device(constants[i], network.constants[i].data, network.constants[i].bytes);
    }
    std::vector<int8_t *> tensors(network.tensor_count);
    for (size_t i = 0; i < network.tensor_count; ++i) {
        const size_t alias = (size_t)network.tensors[i].alias;
        tensors[i] =
            alias < i ? tensors[alias] : (int8_t *)tc_allocate(network.tensors[i].bytes * (size_t)arguments.batch);
    }
    const int32_t timed = (int32_t)std::min((size_t)arguments.batch, count);
    const tc_run run = {constants.data(), tensors.data(), timed};
    tc_run_samples(network, arguments, run, samples, count, results);
    tc_write_file(arguments.output, results.data(), results.size(), "wb");
    printf("{\"network\": ");
    tc_print_string(network.name);
    printf(", ");
    tc_print_device();
    printf(", \"samples\": %zu, \"batch\": %d", count, (int)timed);
    tc_print_times(network, run, arguments);
    printf("}\n");
    for (size_t i = 0; i < network.tensor_count; ++i) {
        if ((size_t)network.tensors[i].alias == i) {
            tc_release(tensors[i]);
        }
    }
    for (void *constant : constants) {
        tc_release(constant);
    }
    return 0;
}

#endif /* TC_GPU_PROGRAM_H */
