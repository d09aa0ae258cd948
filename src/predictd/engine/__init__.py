"""The queue of triggers, the workers that run them, and what becomes of a pickle: slots, submissions, recovery.

Nothing but this room changes a trigger's state; it does not decide when a round opens, and knows no wire format.
"""
