"""Output for people: tables, texts, progress bars, errors."""
