"""Training with TRL: options that fit the data and the machine, the training itself, its log, and early stopping."""
