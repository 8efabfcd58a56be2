"""The error that ends a start: something in the application or its settings that no retry will mend."""


class StartError(Exception):
    """The application can't be started. The text names the function or setting and the reason, and no secret."""
