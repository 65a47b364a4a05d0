"""What stands for the beginning of a long thread where its messages are too many for a prompt."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of a thread up to a message, that one included."""

    text: str
    upto: str  # the id of the message
