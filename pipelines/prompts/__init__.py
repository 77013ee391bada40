"""New prompts: asked for by a method, read from replies, kept when they are new."""
