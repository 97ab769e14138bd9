"""Diagnostics of the PyTorch front end, of factories and of weights."""

EXPLAIN = {
    "TC-M100": (
        "torch.export could not trace the module's forward. Usual causes: an input shape the network was not built for, "
        "branches or loops that depend on the data, and numpy or .item() calls inside forward. Run the module once on a "
        "tensor of the same shape, and move data-dependent code out of forward."
    ),
    "TC-M101": (
        "One or more operators of the network have no form in the intermediate representation. All of them are listed, each "
        "with its node (the module's path where there is one), the reason and what to use instead. Operators that are "
        "supported are shown by `tinycompress ops`."
    ),
    "TC-M102": (
        "Inference runs one sample at a time, so the leading axis of the input is the batch of 1, and no operator may reduce, "
        "join, move or drop it. x.flatten() and x.squeeze() do; x.flatten(1), x.view(x.size(0), -1) and squeezing named axes "
        "do not."
    ),
    "TC-M103": (
        "Shapes are fixed at compile time: every dimension of an input has to be a positive number. Give --input-shape with "
        "numbers, and export without dynamic_shapes."
    ),
    "TC-M104": (
        "The network returns something other than tensors that it computes from its input: None, a number, or a constant. "
        "Return the tensors alone, or a tuple or list of them."
    ),
    "TC-M110": (
        "The factory was not found. pkg.mod:name imports the module from the working directory or the environment; "
        "path/file.py:name runs the file. The part behind the last colon is the name of a function, class or module in it."
    ),
    "TC-M111": (
        "The user's Python code was found and run, and failed, or gave something other than a torch.nn.Module. The factory is "
        "called without arguments; wrap one that needs arguments in a small function."
    ),
    "TC-M112": (
        "A weights file may be written so that reading it runs code. Only tensors and plain containers are read "
        "(torch.load with weights_only=True), there is no way to switch that off. Save the state dict alone."
    ),
    "TC-M113": (
        "The weights file is damaged, or it belongs to another architecture: names or shapes differ from those of the module "
        "that the factory builds. The message lists the first of them."
    ),
    "TC-M120": (
        "A trusted .pt2 file could not be read as an exported program of this torch version. Export it again with the torch "
        "that is installed here, or name the Python factory."
    ),
    "TC-M600": (
        "Reading a .pt2 file can run code from it: torch.export.load falls back to an unrestricted unpickler and evaluates "
        "expressions that the file holds. It is refused unless --trust-model says that you made the file yourself. Naming the "
        "Python factory with --weights is the safe way to bring the same network."
    ),
}
