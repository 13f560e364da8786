"""What a test or benchmark asks the endpoint itself: figures, and to change how it behaves.

GET  /_control/stats                           requests, puts of each key over one, unfinished uploads, objects
GET  /_control/objects                         every object's size, ETag, CRC64NVME and number of writes
PUT  /_control/switches?access_denied=true     see `Switches`
POST /_control/reset                           forget everything but the switches
"""

import json
from urllib.parse import parse_qsl, unquote

from .bodies import encoded
from .messages import Answer, Head, RefusedError
from .service import S3

PREFIX = b"/_control/"


def control(s3: S3, head: Head) -> Answer:
    """Answer a request about the endpoint itself."""
    path, _, query = head.target.decode("ascii").partition("?")
    try:
        return _routed(s3, head.method.decode(), unquote(path.removeprefix(PREFIX.decode())), query)
    except RefusedError as refusal:
        return refusal.answer()


def _routed(s3: S3, method: str, route: str, query: str) -> Answer:
    match method, route.partition("/"):
        case "GET", ("stats", _, _):
            return _json(_stats(s3))
        case "GET", ("objects", _, _):
            return _json(_objects(s3))
        case "GET", ("bodies", _, key):
            return _body(s3, key)
        case "PUT", ("switches", _, _):
            return _switched(s3, query)
        case "POST", ("reset", _, _):
            return _reset(s3, dict(parse_qsl(query)).get("prefix"))
    raise RefusedError(404, "NoSuchRoute")


def _switched(s3: S3, query: str) -> Answer:
    for name, value in parse_qsl(query):
        s3.access.switches.turn(name, on=value == "true")
    return _json(vars(s3.access.switches))


def _reset(s3: S3, prefix: str | None) -> Answer:
    if prefix is not None:
        for key in [key for key in s3.contents.objects if key.startswith(prefix)]:
            s3.contents.remove(key)
        return _json({})
    s3.contents.clear()
    s3.by_method.clear()
    s3.refused.clear()
    return _json({})


def _stats(s3: S3) -> dict[str, object]:
    methods = {method.decode(): count for method, count in s3.by_method.items()}
    return {"requests": s3.by_method.total(), "by_method": methods, "refused": s3.refused, **s3.contents.stats()}


def _objects(s3: S3) -> dict[str, object]:
    contents = s3.contents
    return {
        key: {
            "size": stored.size,
            "etag": stored.etag,
            "crc64nvme": None if stored.crc is None else encoded(stored.crc),
            "puts": contents.puts[key],
        }
        for key, stored in contents.objects.items()
    }


def _body(s3: S3, key: str) -> Answer:
    stored = s3.contents.objects.get(key)
    if stored is None:
        raise RefusedError(404, "NoSuchKey")
    return Answer(200, [], stored.body or b"")


def _json(value: object) -> Answer:
    return Answer(200, ["Content-Type: application/json"], json.dumps(value).encode())
