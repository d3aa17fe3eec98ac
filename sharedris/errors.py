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
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}. {remedy}" if remedy else message)


def require_field(condition: bool, field: str, message: str) -> None:
    """Check a condition on a config field.

    Raises:
        ValueError: when it does not hold; the message starts with the field's dotted name.
    """
    if not condition:
        raise ValueError(f"{field}: {message}")
