"""The queue of runs: claims and leases, the order of runs, their status history, cancellation, and run events.

Only this package changes the state of a run. It does not execute runs and does not know when a round opens.
"""
