"""Diagnostics of data and task."""

EXPLAIN = {
    "TC-C301": (
        "The data could not be found: the file, folder, package or function that was named does not exist. Nothing is ever "
        "downloaded; MNIST comes with `pip install 'tinycompress[demo]'`, every other set from a path of yours."
    ),
    "TC-C302": (
        "The data's arrays have the wrong names, lengths or shapes. An npz holds x and y, or x_train, y_train, x_test, y_test "
        "(and x_val, y_val); every sample of every split has one shape, the model's input shape. In folders of "
        "images each class has a folder of its own, with the same names in train/, val/ and test/."
    ),
    "TC-C303": (
        "The labels do not fit the model's output: there are more classes in the data than outputs of the network, a label "
        "is negative, or labels are not one integer per sample. Check that the model was built for this data set and that labels start at 0. A regression's targets, and "
        "an autoencoder's inputs, must have as many values as the network's output."
    ),
    "TC-C304": (
        "There are too few samples for the requested split. Ask for smaller validation and test shares, or bring more data."
    ),
    "TC-C305": (
        "Some samples hold NaN, infinity or numbers beyond float32. Training on them destroys the network and no calibration range exists; clean the "
        "data first."
    ),
    "TC-C306": (
        "The data source is not of a kind that can be read: give an .npz file, a folder with one sub-folder of images per "
        "class, a function as module:function, or the name of a built-in set. A function's module may also have failed while it "
        "was loaded or called; the message has its error."
    ),
    "TC-C307": (
        "The data has several inputs or several targets, and what was asked for works with one: a named metric, the GPU "
        "comparison. Networks with several inputs train with arrays named after the inputs; several outputs need a loss and a "
        "metric of your own."
    ),
}
