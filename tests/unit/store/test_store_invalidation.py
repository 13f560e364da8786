"""Letting CloudFront forget: against AWS's API as moto's server speaks it, and against one that refuses."""

import boto3
import pytest

from wildcast_server.errors import AccessDeniedError, NetworkError, OtherStoreError, SlowDownError
from wildcast_server.store import StoreOptions
from wildcast_server.store.invalidation import Invalidation

OPTIONS = StoreOptions(access_key_id="testing", secret_access_key="s3cr3t-canary")
CONFIG = {
    "CallerReference": "test",
    "Comment": "",
    "Enabled": True,
    "Origins": {
        "Quantity": 1,
        "Items": [{"Id": "o", "DomainName": "b.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}],
    },
    "DefaultCacheBehavior": {"TargetOriginId": "o", "ViewerProtocolPolicy": "https-only"},
}


@pytest.fixture
def cloudfront(s3_endpoint, monkeypatch):
    """AWS's own client for that server, which `Invalidation` finds by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", s3_endpoint)
    client = boto3.client("cloudfront", region_name="us-east-1")
    yield client
    client.close()


def test_what_begins_with_it_is_forgotten(cloudfront):
    """One path, encoded as a URL's, and a reference by which CloudFront knows a repetition."""
    distribution = cloudfront.create_distribution(DistributionConfig=CONFIG)["Distribution"]["Id"]
    Invalidation(distribution, OPTIONS)("ausgaben/für alle/exec_1_00000001", "wildcast exec_1_00000001 7")

    (made,) = cloudfront.list_invalidations(DistributionId=distribution)["InvalidationList"]["Items"]
    batch = cloudfront.get_invalidation(DistributionId=distribution, Id=made["Id"])["Invalidation"]["InvalidationBatch"]
    assert batch["Paths"]["Items"] == ["/ausgaben/f%C3%BCr%20alle/exec_1_00000001*"]
    assert batch["CallerReference"] == "wildcast exec_1_00000001 7"


ERROR = "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (400, "TooManyInvalidationsInProgress", SlowDownError, "in progress"),
        (403, "AccessDenied", AccessDeniedError, "cloudfront:CreateInvalidation"),
        (404, "NoSuchDistribution", OtherStoreError, "cloudfront_distribution_id"),
    ],
)
def test_a_refusal_says_what_to_do(answering, monkeypatch, status: int, code: str, kind: type[Exception], says: str):
    """Whether to wait, or what to set; nothing of the credentials is in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", answering(status, ERROR.format(code).encode()))
    with pytest.raises(kind, match=says) as caught:
        Invalidation("E1", OPTIONS)("outputs/x", "r")
    assert "canary" not in str(caught.value)


def test_a_service_that_is_away_is_an_outage(monkeypatch):
    """It is asked again later."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(NetworkError, match="could not be reached"):
        Invalidation("E1", OPTIONS)("outputs/x", "r")
