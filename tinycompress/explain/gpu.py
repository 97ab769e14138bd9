"""Diagnostics of the desktop comparison: CUDA programs, GPUs, and the command's own flags."""

EXPLAIN = {
    "TC-C401": (
        "compare-gpu takes batch sizes from 1 to 65536 and the dtypes int8 and fp16, separated by commas: "
        "--batch 1,256 --dtype int8,fp16. Recipes are dense, magnitude, one-shot, sr-ste and exact-obs."
    ),
    "TC-C402": (
        "A layer was asked to run as 2:4 but cannot. It must be a fully connected layer or an ungrouped convolution "
        "whose input channels are a multiple of four, and its integer weights must hold at most two values that are "
        "not zero in every four consecutive ones along kh, kw, c. Prune it first, or leave it dense."
    ),
    "TC-C403": (
        "These ways to 2:4 train or reorder a float network. A network that comes quantized can be pruned by magnitude "
        "only (--prune magnitude, or without --prune). Give the float model it was made from for the others."
    ),
    "TC-C404": (
        "dense, one-shot and sr-ste train the network again, so they need data with targets: --data, or [data] in the "
        "configuration. magnitude needs nothing, exact-obs only calibration samples."
    ),
    "TC-D401": (
        "A compiled CUDA program could not run: there is no GPU, its driver is older than the toolkit, it is older than "
        "compute capability 8.0 (Ampere), which 2:4 needs, or a call of the CUDA runtime failed; the message is the "
        "runtime's own. `nvidia-smi` shows the GPU and its driver."
    ),
    "TC-D402": (
        "Times were asked for, but there is no GPU here to measure them. Masks, packing, channel permutation, "
        "retraining and accuracy need neither and are reported; times are never estimated. Run the same command on a "
        "machine with a GPU of compute capability 8.0 or later, an NVIDIA driver and the CUDA toolkit."
    ),
    "TC-M590": (
        "Some operators of the network cannot run as generated CUDA; the message names each node and says why. Generated "
        "CUDA runs int8 networks without state (no SVDF, no LSTM, no int16 or int32 tensors) whose weights have zero "
        "point 0. The masks, their accuracy and the microcontroller's program do not depend on it."
    ),
    "TC-T201": (
        "nvcc, the CUDA compiler, is not on the path, below CUDA_HOME, in /usr/local/cuda/bin or among pip's packages. It "
        "comes with the CUDA toolkit (12.0 or later). Without it the generated program still compiles with any C++17 "
        "compiler and computes the same bytes on the host, slowly."
    ),
    "TC-T202": (
        "The generated CUDA does not compile; the compiler's output follows. It is compiled for compute "
        "capabilities 8.0 and 9.0; nvcc also needs a C++ compiler that it knows. For unchanged generated code this is a bug of the tool: report it with "
        "the model and the compiler's version."
    ),
    "TC-V401": (
        "Before it runs a network the program multiplies one pair of random matrices with each tensor-core instruction "
        "and compares every sum with the documented result; or, in the sweep, it computes some results again on the "
        "host. They differ, so nothing that this GPU would compute could be trusted. Report it with the GPU's name and "
        "the driver's version."
    ),
    "TC-V402": (
        "A CUDA program ran, but its output is not byte for byte that of the integer reference. Times of a program that "
        "computes something else mean nothing, so none are reported. Report it with the model, the GPU and the versions."
    ),
}
