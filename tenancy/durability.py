"""What a node of the graph needs of the checkpointer."""

from enum import StrEnum


class Durability(StrEnum):
    """Declared in a node's metadata under `durability`; a node that says nothing is an effect."""

    FREE = "free"  # recompute it after a crash
    PAID = "paid"  # commit what it returned before anything else runs
    EFFECT = "effect"  # commit before and after it
    CLOSING = "closing"  # free, and leads straight to the end: the run's last commit carries it
