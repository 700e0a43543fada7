"""What is used beside the product: for tests, benchmarks, pictures and auditors."""
