"""HTTP for the routes: middleware, dependencies, bodies, headers and responses."""
