"""What the benchmarks of publishing to S3 share."""
