"""The predecessor's table `tenant_sleep_states`: how it is read, what each row becomes, and how that is sent."""
