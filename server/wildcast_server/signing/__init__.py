"""Signed URLs and cookies of a CDN: the port, CloudFront, its keys."""
