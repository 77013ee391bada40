"""Addresses of endpoints as people write them: `localhost:8000`, `http://host/v1`, behind a model's name or alone."""

import ipaddress
import re
from urllib.parse import urlsplit

# What follows the @ in a model's line if it is an address and not part of the name, as in claude@20240620.
ADDRESS = re.compile(
    r"@(?=\w+:/|localhost\b|\[|[\w.-]*:\d|\d+(\.\d+){3}\b|([\w-]+\.)+[a-z]{2,}(:\d+)?(/|$)|[^@/]*:[^@/]*@[\w.-]+)",
    re.IGNORECASE,
)
PATH = "/v1"  # of nearly every OpenAI-compatible server; added where an address has none
ENDINGS = ("/chat/completions", "/completions")  # of an address that was copied from an example


def split(line: str) -> tuple[str, str | None]:
    """
    Split a model's line into its name and the address behind it, as written.

        split("openai:qwen@localhost:8000")  # ("openai:qwen", "localhost:8000")
    """
    found = ADDRESS.search(line)
    return (line[: found.start()], line[found.end() :]) if found else (line, None)


def normalized(address: str) -> str:
    """
    Return an address as a URL with scheme and path. Without a scheme, http is used for a host on this machine or in a
    local network and for any with a port, else https. Raises ValueError for what is no address of an endpoint.

        normalized("localhost:8000")  # "http://localhost:8000/v1"
    """
    text = address.strip()
    if not re.match(r"\w+:/", text):
        text = f"{'http' if _is_near(text) else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{address!r} is not the address of an endpoint: {error}") from error
    problem = (
        "a space in it" if re.search(r"[\s\x00-\x1f\\]", text)
        else f"the scheme {parts.scheme}" if parts.scheme not in ("http", "https")
        else "no host" if not host or host.startswith((".", "-"))
        else "a query or fragment" if parts.query or parts.fragment
        else None
    )  # fmt: skip
    if problem:
        raise ValueError(f"{address!r} is not the address of an endpoint, it has {problem}; expected http://HOST/v1")
    path = parts.path.rstrip("/")
    for ending in ENDINGS:
        path = path.removesuffix(ending)
    return parts._replace(path=path or PATH).geturl()


def _is_near(text: str) -> bool:
    authority = text.partition("/")[0].rpartition("@")[2]
    host = re.sub(r":\d*$", "", authority).strip("[]")
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host or bool(re.search(r":\d+$", authority))
