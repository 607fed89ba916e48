"""The three ways a command ends badly, each with its exit code.

A message is one line: where, what was written, what is allowed. Several may be told at once.
"""


class TilewrightError(Exception):
    """An ending that a user may meet; ``str()`` is the message, a line for each mistake."""

    exit_code = 1

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


class CheckFailed(TilewrightError):
    """The design was built and did not pass its check. Exit code 1."""

    exit_code = 1


class UserError(TilewrightError):
    """The input is wrong. Exit code 2."""

    exit_code = 2


class ToolError(TilewrightError):
    """A tool is missing or broke. Exit code 3."""

    exit_code = 3
