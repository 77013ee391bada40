"""The run directory: how stages and products are stored in it, and how a finished run is opened again."""
