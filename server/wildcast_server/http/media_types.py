"""Content type and caching of a published file, by its path alone and the same on every host."""

from wildcast.contract.naming import ZARR_METADATA, is_metadata

DEFAULT = "application/octet-stream"

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "gz": "application/gzip",
    "h5": "application/x-hdf5",
    "hdf5": "application/x-hdf5",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "log": "text/plain; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "mp4": "video/mp4",
    # The OGC's name for netCDF; application/x-netcdf is its older, unregistered form.
    "nc": "application/netcdf",
    "nc4": "application/netcdf",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain; charset=utf-8",
    "webp": "image/webp",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}
"""By the suffix in lower case."""

IMMUTABLE = "public, max-age=31536000, immutable"
NO_CACHE = "no-cache"


def content_type(path: str) -> str:
    """Return the media type of the file at `path`; ``application/octet-stream`` if its name does not tell."""
    name = path.rpartition("/")[2]
    if name in ZARR_METADATA:
        return "application/json"
    stem, _, suffix = name.rpartition(".")
    return TYPES.get(suffix.lower(), DEFAULT) if stem else DEFAULT


def cache_control(path: str) -> str:
    """Return how the object at `path`, a key or relative to its publication, may be cached.

    Data is never rewritten, so it may be kept for ever; what describes it is asked for anew each time.
    """
    return NO_CACHE if is_metadata(path) else IMMUTABLE
