"""The name under which a client keeps a file: ``Content-Disposition`` (RFC 6266)."""

import re
from urllib.parse import quote

_TOKEN = "!#$&+-.^_`|~"  # noqa: S105 - RFC 8187's attr-char beside letters and digits
# Also `%`, which some clients decode in a quoted name (RFC 6266, appendix D).
_UNSAFE = re.compile(r'[^ -~]|["%\\]')


def content_disposition(path: str) -> str:
    """Name the file at `path` by its last component.

    Whatever the component holds, the value is printable ASCII: characters that a quoted name cannot have become ``_``
    in it, and then ``filename*`` holds the name itself, which every current client prefers.
    """
    name = path.rpartition("/")[2]
    plain = _UNSAFE.sub("_", name)
    shown = f'inline; filename="{plain}"'
    if plain == name:
        return shown
    return f"{shown}; filename*=UTF-8''{quote(name, safe=_TOKEN, errors='replace')}"
