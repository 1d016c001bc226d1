"""Errors that end the command with one line for the user."""


class UserError(Exception):
    """One line that names the culprit and the remedy; the command line prints it and exits with 2."""
