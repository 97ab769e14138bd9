"""Diagnostics of kernels, plan and generated C."""

EXPLAIN = {
    "TC-M501": (
        "A kernel that works row by row was asked for an operator whose rows depend on the whole input (for example a concatenation "
        "along rows). The catalogue and the planner disagree about the operator, so this is a bug of a kernel's predicate; the message "
        "names both."
    ),
    "TC-M502": (
        "Some operators have no kernel that computes them exactly at their shapes and types, so no code can be generated. All of them "
        "are listed by node name. Check `tinycompress ops` for what each operator supports; a change of dtype, of broadcasting or of "
        "the number of dimensions is the usual fix."
    ),
    "TC-M503": (
        "Vertical padding is a constant row of the input's zero point. For int16 and int32 activations only zero point 0 is supported, "
        "as the symmetric schemes use. Quantize this tensor symmetrically, or to int8."
    ),
    "TC-M504": (
        "A state tensor is to keep the value of another state tensor unchanged. State is copied from the arena after the inference, so "
        "a value must be computed before it can be kept. Insert an operator (for instance a Slice of everything) between the two."
    ),
    "TC-M505": (
        "A streamed plan gives every row an address of its own in a table of 16-bit word numbers, which reaches 262140 bytes. Networks "
        "with a larger working set even when streamed are planned layer by layer, or compressed first."
    ),
    "TC-M506": (
        "With feed 'rows' the caller gives the input one row after the other, in the order in which the plan asks for them. With several "
        "inputs the plan would also decide whose row is next, which callers with two sensors cannot follow. Deploy the model with feed "
        "'whole', or join the inputs into one before the network."
    ),
    "TC-M507": (
        "The network has no operator that computes: its outputs are its inputs, at most in another shape. There is nothing to generate "
        "code for. Usually the wrong outputs were named when the model was exported, or a cut left only the edge of it."
    ),
    "TC-C134": (
        "Layer by layer, the first layer runs to its end before the second begins, so the whole input would have to be kept although it "
        "arrives in rows. Feeding rows saves memory only in a streamed plan. Use --schedule streamed or auto with --feed rows, or --feed "
        "whole with --schedule layers."
    ),
    "TC-B101": (
        "The arena (all activations, scratch, inputs and outputs) plus state does not fit the RAM given. The message says how many bytes are "
        "missing and which layer is running at the peak, and whether smaller plans are ruled out or were only not found: kernels that need "
        "less memory have been tried by then. Plan with schedule 'streamed' or 'auto', which keep rows instead of whole "
        "tensors, compress the model to this budget, or take a board with more RAM."
    ),
    "TC-B102": (
        "The packed weights do not fit the flash given, even with the smallest kernel variant per layer. The message names the largest "
        "layer. Compress the model to this budget, or take a board with more flash."
    ),
    "TC-T150": (
        "The generated C did not compile on this machine. It is meant to be free of warnings under GCC and clang, so either the compiler "
        "named by CC is very different, or this is a bug; the compiler's first lines are in the message."
    ),
}
