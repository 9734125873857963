"""What operators see: status, lag, metrics."""
