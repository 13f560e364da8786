"""A CDN edge of our own: checks a CloudFront signature, then serves from a store."""
