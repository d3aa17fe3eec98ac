"""The error that a user can fix: one line and its remedy, shown without a traceback, exit code 2.

Configs raise a `ValueError` that names the field (`require_field`); commands turn it into an `InputError`.
"""


class InputError(ValueError):
    """Bad input from outside (a file, a setting, an argument).

    Args:
        message: what is wrong, naming the file, field or value.
        remedy: what to do about it; shown after the message.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = printable(_without_trace(message))
        self.remedy = printable(remedy)
        super().__init__(f"{self.message}. {self.remedy}" if remedy else self.message)


def _without_trace(message: str) -> str:
    """Return the cause of an error in a loader process: torch raises it again with the whole trace as its message."""
    if message.startswith("Caught ") and "\nOriginal Traceback " in message:
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message


def printable(text: str) -> str:
    """Return a text in one line: what a terminal would obey, or could not print, is written as an escape.

    Messages quote names and values from files, which may hold terminal codes or halves of characters.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def require_field(condition: bool, field: str, message: str) -> None:
    """Check a condition on a config field.

    Raises:
        ValueError: when it does not hold; the message starts with the field's dotted name.
    """
    if not condition:
        raise ValueError(f"{field}: {message}")
