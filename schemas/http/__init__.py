"""HTTP as bytes, for every port that we open: the API and the worker's status page."""
