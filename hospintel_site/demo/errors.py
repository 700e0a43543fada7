"""What can go wrong in a demo."""


class DemoError(Exception):
    """Something that the demo needs is not there or did not happen; the text says what, `hint` what to do about it."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.hint = hint
