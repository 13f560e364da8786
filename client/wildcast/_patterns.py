"""Patterns of paths: ``*`` and ``?`` within a name, ``**`` over directories, ``[…]`` for one of several characters."""

import re

from fsspec.utils import glob_translate

from wildcast._errors import InvalidPatternError, harmless, shown


def pattern_of(text: str) -> re.Pattern[str]:
    """Return what matches the paths that a pattern means.

    Raises
    ------
    InvalidPatternError
        If it is no pattern.
    """
    try:
        return re.compile(glob_translate(text))
    except (ValueError, re.error) as error:
        raise InvalidPatternError(f"{shown(text)} is no pattern: {harmless(str(error))}.") from None
