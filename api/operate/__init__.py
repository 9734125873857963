"""What operators see: dependencies, lag, metrics, status."""
