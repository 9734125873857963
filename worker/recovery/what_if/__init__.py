"""What-if: folds a range of the log again, under the recorded rules or others, and compares. It writes nothing."""
