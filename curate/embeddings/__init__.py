"""Sentence embeddings: load an encoder, cache its vectors by text, compare vectors by cosine similarity."""
