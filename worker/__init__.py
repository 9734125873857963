"""The Faust worker: folds each partition's events, in order, into the tenants' records in Redis."""
