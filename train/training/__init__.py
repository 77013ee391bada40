"""Training over TRL: settings that fit, the run itself, what is logged and when it stops early."""
