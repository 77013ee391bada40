"""Signs in a reply that the context of a server is too small: it cut the prompt, or the answer before its limit."""

from pipelines.clients.budget import tokens_of
from pipelines.clients.requests import Reply, Request

LEAST = 1000  # estimated tokens of a prompt, below which an estimate says little
FAR_BELOW = 3  # times that the estimate exceeds the reported tokens; 2 occurs, in tables and repetitive text
ABOVE = 1.2  # the same where the reported tokens are a power of two, the size of a context
WHOLE = 0.9  # share of max_tokens at which an answer counts as having used its room: servers count differently
LARGER = "give the server a larger context (Ollama: num_ctx, llama.cpp: --ctx-size, vLLM: --max-model-len)"


def problem(request: Request, reply: Reply) -> str | None:
    """Return what a reply says about the context of its server; None if nothing is wrong with it."""
    sent, estimate = reply.input_tokens, tokens_of(request.messages)
    if sent and estimate >= LEAST:
        is_power = sent & (sent - 1) == 0
        if estimate > sent * (ABOVE if is_power else FAR_BELOW):
            return f"a prompt seems to be cut: about {estimate:,} tokens were sent, {sent:,} were read; {LARGER}"
    got, most = reply.output_tokens, request.max_tokens
    if reply.finish_reason == "length" and got and got < WHOLE * most:
        return f"an answer was cut off after {got:,} of {most:,} tokens; {LARGER}"
    return None
