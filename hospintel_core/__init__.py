"""What hub and agent share: wire format, weights, aggregation, training. No web framework."""
