"""What crosses a boundary, and the pure maths that both sides of it must agree on.

Nothing in this package performs I/O, reads a clock or knows a framework other than pydantic.
"""
