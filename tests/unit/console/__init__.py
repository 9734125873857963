"""The console's logic, which needs no page: run by Node where there is one."""
