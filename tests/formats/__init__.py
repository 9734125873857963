"""What real libraries report of their breakers, and the programs that made them report it."""
