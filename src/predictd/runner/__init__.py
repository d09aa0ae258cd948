"""The only predictd code inside the sandbox: unpickle, read, predict, send the predictions, report failures.

Standard library plus pandas, pyarrow, numpy and cloudpickle of the runtime; Python 3.10 to 3.13. Imports nothing of
predictd outside this folder, because the sandbox has nothing else of it.
"""
