"""The table of the predecessor, SomaBrain: how it is read, what each row becomes, and how that is sent."""
