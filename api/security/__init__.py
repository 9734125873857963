"""Authentication, authorisation, rate limits and limits on concurrent requests."""
