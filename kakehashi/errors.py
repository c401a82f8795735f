"""The one exception for mistakes that the user can mend; the command line turns it into a message and exit code 2."""


class UserError(Exception):
    """Bad input from outside: a file, a setting, a command. Its text says what is wrong, where, and how to mend it."""
