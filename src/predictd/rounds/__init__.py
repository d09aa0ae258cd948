"""The calendar and the life of a round: opening with its live data, closing.

Nothing but this room decides that it is time; what a round sets off is the engine's.
"""
