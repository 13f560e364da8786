"""How many presigned S3 URLs a second: to read, to write, and for a part; ours, and what else could sign them.

    python benchmarks/presign.py [--urls 2000] [--runs 5]

Nothing is sent: a signature is made of the credentials alone. The median of the runs is shown, which take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import boto3
import obstore
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from obstore.store import S3Store

from wildcast_server.store import StoreOptions, open_presigner

BUCKET, REGION, HOUR = "bucket", "eu-central-1", 3600
ACCESS_KEY, SECRET = "AKIDEXAMPLE", "secret"
ENDPOINT = f"https://s3.{REGION}.amazonaws.com"
UPLOAD = "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA"
KINDS = ("GET", "PUT", "part")

Sign = Callable[[str, str], object]
"""Makes the URL of one kind for one key."""


def wildcast() -> Sign:
    """Sign as `open_presigner` does."""
    options = StoreOptions(region=REGION, access_key_id=ACCESS_KEY, secret_access_key=SECRET)
    presigner = open_presigner(f"s3://{BUCKET}", options)

    def sign(kind: str, key: str) -> object:
        if kind == "GET":
            return presigner.presign_get(key, HOUR)
        if kind == "PUT":
            return presigner.presign_put(key, HOUR, content_type="application/octet-stream")
        return presigner.presign_part(key, UPLOAD, 1, HOUR)

    return sign


def boto() -> Sign:
    """Sign as AWS's own SDK for Python does."""
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4"),
    )

    def sign(kind: str, key: str) -> object:
        place = {"Bucket": BUCKET, "Key": key}
        if kind == "GET":
            return client.generate_presigned_url("get_object", place, HOUR)
        if kind == "PUT":
            return client.generate_presigned_url(
                "put_object", {**place, "ContentType": "application/octet-stream"}, HOUR
            )
        return client.generate_presigned_url("upload_part", {**place, "UploadId": UPLOAD, "PartNumber": 1}, HOUR)

    return sign


def botocore_signer() -> Sign:
    """Use that SDK's signer without the client around it."""
    credentials = Credentials(ACCESS_KEY, SECRET)

    def sign(kind: str, key: str) -> object:
        headers = {"Content-Type": "application/octet-stream"} if kind == "PUT" else {}
        query = {"partNumber": 1, "uploadId": UPLOAD} if kind == "part" else {}
        method = "GET" if kind == "GET" else "PUT"
        request = AWSRequest(method, f"{ENDPOINT}/{BUCKET}/{key}", params=query, headers=headers)
        S3SigV4QueryAuth(credentials, "s3", REGION, HOUR).add_auth(request)
        return request.url

    return sign


def rust() -> Sign:
    """Use obstore, which signs neither content type nor part."""
    config = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET, "region": REGION, "endpoint": ENDPOINT}
    store = S3Store(BUCKET, config=config)

    def sign(kind: str, key: str) -> object:
        if kind == "part":
            raise NotImplementedError
        return obstore.sign(store, kind, key, timedelta(seconds=HOUR))

    return sign


def rate(sign: Sign, kind: str, urls: int) -> float | None:
    """Return URLs a second, or None for what cannot be signed."""
    try:
        sign(kind, "warm/up")
    except NotImplementedError:
        return None
    began = time.perf_counter()
    for each in range(urls):
        sign(kind, f"outputs/exec_1_00000000/forecast.zarr/temperature/c/{each}/0/0")
    return urls / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    signers = {
        "wildcast": wildcast(),
        "boto3 `generate_presigned_url`": boto(),
        "botocore's signer alone": botocore_signer(),
        "obstore `sign`": rust(),
    }
    rates: dict[tuple[str, str], list[float | None]] = {}
    for _ in range(given.runs):
        for name, sign in signers.items():
            for kind in KINDS:
                rates.setdefault((name, kind), []).append(rate(sign, kind, given.urls))
    print(f"| URLs a second, median of {given.runs} | {' | '.join(KINDS)} |\n| --- | ---: | ---: | ---: |")
    for name in signers:
        cells = [_cell(rates[name, kind]) for kind in KINDS]
        print(f"| {name} | {' | '.join(cells)} |")


def _cell(rates: list[float | None]) -> str:
    known = [each for each in rates if each is not None]
    return f"{statistics.median(known):,.0f}" if known else "—"


if __name__ == "__main__":
    main()
