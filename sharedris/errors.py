"""The one error that is the user's to mend: a clear line and its remedy, shown without a trace, exit code 2."""


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
