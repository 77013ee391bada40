"""Asking models: one dispatcher with cache, budget and limits; endpoints, local models, an embedded server."""
