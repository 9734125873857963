"""`sleepctl run`: embedded services, a scenario, and its view."""
