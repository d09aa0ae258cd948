"""The only code of ours inside the sandbox: unpickle, read, predict, send the values, report.

Standard library plus what the runtime has (pandas, pyarrow, numpy, cloudpickle), Python 3.10 to 3.13; imports nothing
of predictd outside this folder, because nothing else is there.
"""
