"""What tests share: builders, fakes, a second fold, an installation."""
