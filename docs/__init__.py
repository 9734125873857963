"""The pages of the project, and the generator of those that follow from the code."""
