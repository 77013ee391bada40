"""Training: preflight, SFT, DPO, evaluation over TRL. Nothing here yet but the name: see the issues."""
