"""What the HTTP faces share: ranges, media types, object responses, error bodies."""
