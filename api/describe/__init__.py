"""What callers are told of this API: documents, problems, the OpenAPI document, the reference pages."""
