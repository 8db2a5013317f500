"""From label tables and prepared datasets to training batches."""
