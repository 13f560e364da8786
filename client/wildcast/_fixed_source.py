"""The files below a signed URL that somebody handed over."""

import warnings
from dataclasses import replace
from urllib.parse import quote, unquote

from wildcast._absent import UnlistedWarning
from wildcast._errors import InvalidUrlError
from wildcast._sources import UrlSource, parse
from wildcast.contract.naming import MANIFEST_PATH, is_publication
from wildcast.contract.policy import SignedUrl, resource_matches

_MARK = "#manifest="


def with_manifest(signed_url: str, manifest_url: str) -> str:
    """Return the signed URL of a directory with that of the manifest behind it, where no server ever sees it."""
    return f"{signed_url}{_MARK}{quote(manifest_url, safe='')}"


class FixedSource(UrlSource):
    """A wildcard signed URL that somebody handed over; it is pickled whole, because that is all there is.

    Parameters
    ----------
    signed_url
        ``<base>/*?<query>``, for a directory of a publication with ``#manifest=<signed URL>``, as `Result.sign` gives
        it: the signature of a directory does not cover the manifest, which lies above.

    Raises
    ------
    InvalidUrlError
        If it is no such URL.
    """

    def __init__(self, signed_url: str) -> None:
        url, mark, manifest_url = signed_url.strip().partition(_MARK)
        self._url = parse(url)
        self._is_promised = bool(mark)
        around = _around(self._url)
        self._publication: SignedUrl | None
        if mark:
            self._publication = _publication_of(parse(unquote(manifest_url)), self._url)
        else:
            self._publication = next(filter(_covers_manifest, around), None)
        if self._publication is None and around:
            warnings.warn(
                f"{self.base} is a directory of a publication, and its signature does not cover the manifest: a file "
                "that the store has lost will read as one that was never written. Take the URL of the whole result, or "
                "the directory's as Result.sign and `wildcast url` give it, with all that is in it.",
                UnlistedWarning,
                stacklevel=5,
            )

    @property
    def base(self) -> str:
        """The prefix's URL."""
        return self._url.base

    def current(self) -> SignedUrl:
        """Return the URL."""
        return self._url

    @property
    def expects_listing(self) -> bool:
        """Whether it says that there is a manifest, and where."""
        return self._is_promised

    @property
    def directory(self) -> str:
        """Where in its publication these files lie."""
        return "" if self._publication is None else unquote(self.base.removeprefix(f"{self._publication.base}/"))

    @property
    def manifest_link(self) -> SignedUrl | None:
        """The publication's URL, with a signature that covers the manifest."""
        return self._publication


def _around(directory: SignedUrl) -> list[SignedUrl]:
    """Return the publications that a directory may lie in, going by their names, with the directory's signature."""
    parts = directory.base.split("/")
    places = [place for place in range(1, len(parts)) if is_publication(parts[place - 1])]
    return [replace(directory, base="/".join(parts[:place])) for place in places]


def _covers_manifest(publication: SignedUrl) -> bool:
    """Whether the signature was made for more than the directory, as where somebody has put its URL together."""
    policy = publication.policy
    return policy is not None and resource_matches(policy.resource, f"{publication.base}/{MANIFEST_PATH}")


def _publication_of(manifest: SignedUrl, directory: SignedUrl) -> SignedUrl:
    base = manifest.base.removesuffix(f"/{MANIFEST_PATH}")
    if base == manifest.base or not directory.base.startswith(f"{base}/"):
        # A manifest of other files would say that none of these was ever written.
        raise InvalidUrlError("The manifest that this signed URL names is not that of the directory.")
    return replace(manifest, base=base)
