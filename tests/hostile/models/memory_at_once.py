"""Takes a gigabyte in one allocation and touches all of it."""

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where memory is measured from time to time, no process is given much more than the limit to begin with.
OTHERWISE = {
    "sampling": {
        "SAYS": "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB when it asked for more "
        "(Unable to allocate 1.00 GiB for an array with shape (134217728,) and data type float64)."
    }
}


def predict(live_features):
    import numpy as np

    return np.ones(1 << 27)
