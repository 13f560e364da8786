"""Letting a CDN forget what has been removed (Amazon CloudFront Developer Guide, "Invalidate files")."""

from functools import cached_property
from typing import Any

from wildcast.contract.naming import quote_key
from wildcast_server.errors import AccessDeniedError, NetworkError, OtherStoreError, SlowDownError, StoreError
from wildcast_server.store._s3_boto import boto_session
from wildcast_server.store._s3_credentials import MissingCredentialsError, credential_source
from wildcast_server.store.options import StoreOptions

_REGION = "us-east-1"
"""Of a service that has no regions."""

_WAIT = frozenset({"TooManyInvalidationsInProgress", "Throttling", "ThrottlingException", "ServiceUnavailable"})
_DENIED = frozenset({"AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"})


class Invalidation:
    """Asks one CloudFront distribution to forget keys; ``AWS_ENDPOINT_URL_CLOUDFRONT`` names another service.

    Parameters
    ----------
    distribution_id
        The distribution in front of the store.
    options
        Whose credentials, proxy and certificates are used.
    """

    def __init__(self, distribution_id: str, options: StoreOptions) -> None:
        self._distribution_id = distribution_id
        self._options = options

    def __call__(self, beginning: str, reference: str) -> None:
        """Let every edge forget all keys that begin with `beginning`; it takes CloudFront some minutes.

        Parameters
        ----------
        beginning
            Of keys, relative to the store.
        reference
            Tells this request from others: CloudFront takes one that has the same for its repetition.

        Raises
        ------
        StoreError
            If CloudFront does not take it on: `SlowDownError` where it may later.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        uri = f"cloudfront://{self._distribution_id}/{beginning}"
        batch = {
            "CallerReference": reference,
            "Paths": {"Quantity": 1, "Items": [f"/{quote_key(beginning)}*"]},
        }
        try:
            self._client.create_invalidation(DistributionId=self._distribution_id, InvalidationBatch=batch)
        except ClientError as error:
            raise _translate(error, uri) from error
        except BotoCoreError as error:
            # Its text may quote the proxy's URL, password included.
            raise NetworkError(f"{uri}: CloudFront could not be reached ({type(error).__name__})", uri) from None
        except MissingCredentialsError as error:
            raise AccessDeniedError(f"{uri} cannot be invalidated: {error}", uri) from error

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config

        options = self._options
        return boto_session(credential_source(options)).client(
            "cloudfront",
            region_name=_REGION,
            verify=str(options.ca_bundle) if options.ca_bundle else None,
            config=Config(
                proxies={"https": options.proxy_url} if options.proxy_url else None,
                retries={"mode": "standard"},
            ),
        )


def _translate(error: Any, uri: str) -> StoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _WAIT:
        return SlowDownError(f"{uri}: CloudFront has as many invalidations in progress as it takes ({code})", uri)
    if code in _DENIED:
        return AccessDeniedError(
            f"{uri}: CloudFront refused ({code}); the credentials need cloudfront:CreateInvalidation", uri
        )
    return OtherStoreError(
        f"{uri}: CloudFront refused ({code}); is object_storage.cloudfront_distribution_id right?", uri
    )
