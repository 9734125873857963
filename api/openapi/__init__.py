"""The OpenAPI document, its page, and the reference of errors."""
