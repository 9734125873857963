"""Reading whatever a broker hands over."""
