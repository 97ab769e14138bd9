"""Diagnostics of compression: budgets, quality, training."""

EXPLAIN = {
    "TC-B201": (
        "No network of this architecture fits the budget: even with every channel group at its least width (recipe key "
        "prune.min_channels) a limit is exceeded. The message names the nearest budget that can be met. Frozen parts (the "
        "input buffer, the classifier's outputs) do not shrink; a smaller input or a smaller architecture does."
    ),
    "TC-B202": (
        "The network exceeds a limit: the finished one, which only then shows what cannot be priced exactly before, such as "
        "instructions; or one that the recipe leaves as it is (prune.method 'none'). Give the pruner a reserve with "
        "prune.safety (0.05 is 5 %) and run again, or name a pruning method."
    ),
    "TC-Q101": (
        "The compressed network is inside every resource budget, but its integer form scores below budget.min_accuracy on the "
        "test split. The network is stored in the run directory. Train longer, distil from a teacher, add quantization-aware "
        "training, or allow more flash or SRAM; accuracy on few samples has an uncertainty of its own."
    ),
    "TC-Q102": (
        "Training diverged: the loss became NaN or infinite at the step named. Nothing after that step is kept; the last "
        "checkpoint is the end of the epoch before. Lower the learning rate or lengthen the warm-up, and look for samples "
        "with extreme values."
    ),
    "TC-C310": (
        "The task's kind, loss or metric is not one that exists. Kinds are classification, regression and autoencoder; losses "
        "and metrics are names or, from Python, any callable."
    ),
    "TC-C311": (
        "A budget is not a positive number or not a size. Write bytes (16384) or a unit ('16 KB'); 1 KB is 1024 bytes."
    ),
    "TC-C312": (
        "Losses and metrics by name work with one input, one output and one target. A network with more trains with functions "
        "of your own: the loss gets the outputs as a tuple in the network's order and the targets as they are in the data (a "
        "dict when they have names), the metric the same as numpy arrays."
    ),
    "TC-C313": (
        "Flips, shifts and noise of the recipe change the images of the only input; with several inputs nobody can know which "
        "changes belong together. Leave [compress.augment] out and bring augmented data."
    ),
    "TC-C315": (
        "Soft labels need a teacher that takes what the student takes and gives outputs of the same shapes in the same order. "
        "The message has both networks' inputs and outputs."
    ),
    "TC-C319": (
        "The loss or metric function that the task names raised an exception, or gave something that is no single number. A "
        "loss gets (output, target) as torch tensors of one batch and gives a scalar tensor that depends on the output; a "
        "metric gets numpy arrays of all samples and gives a number, larger is better."
    ),
    "TC-C314": (
        "The recipe asks for CUDA, and torch finds no CUDA device: there is no GPU, no driver, or a torch built for the CPU. "
        '`device = "auto"` uses a GPU where there is one.'
    ),
    "TC-C316": (
        "Under torchrun every process trains on its share of each batch, and this batch has fewer samples than there are "
        "processes. Batch sizes of the recipe are those of the whole batch."
    ),
    "TC-C317": (
        "Under torchrun every process trains on a GPU of its own, and more processes were started on this machine than it "
        'has GPUs. Start fewer, or train on the CPU with `device = "cpu"`.'
    ),
    "TC-C318": (
        "One of the processes that torchrun started has ended, so the others cannot go on. Its own message says why; this one "
        "only says that it was missed. The same command goes on from the last checkpoint."
    ),
    "TC-C350": (
        "A channel group was to be cut that does not exist, may not be cut, or would be emptied. A group is frozen when its "
        "channels reach a graph input or output or pass an operator that mixes channels; the message says which."
    ),
    "TC-C351": (
        "The recipe derives the student's widths from what survives in a pruned teacher (student.widths), and there is no "
        "pruned teacher of the student's own architecture. Set teacher.kind to 'pruned' or 'candidates', or leave the "
        "widths at 'full'."
    ),
    "TC-C352": (
        "Compression trains a network and cuts its channels, and this one has neither weights nor channels: it only moves, "
        "pools or scales values. `tinycompress deploy` brings it to the board as it is."
    ),
}
