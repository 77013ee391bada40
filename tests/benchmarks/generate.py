"""
Requests per second against an instant local server: plain distilabel and these pipelines, in one run.

    python tests/benchmarks/generate.py --rows 300

The same work on both sides: two models answer every prompt, a judge rates the answers. Plain distilabel is its own
OpenAILLM, TextGeneration twice, GroupColumns and UltraFeedback at its default batch size of 50 (one judge request per
prompt); ours rates every answer separately (two judge requests per prompt). The server counts the requests; seconds
are those of the whole run, for ours with everything else that `curate run` does.
"""

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

RATINGS = "#### Output for Text 1\nRating: 5\nRationale: good\n\n#### Output for Text 2\nRating: 3\nRationale: fair"
VERDICT = '{{"reason": "as asked", "ratings": {{"overall": {grade}}}}}'


def serve(port: int) -> None:
    """Answer at once, and count."""
    count = 0

    async def chat(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        body = await request.json()
        asked = body["messages"][-1]["content"]
        text = f"An answer of {body['model']} to {asked[:40]!r}."
        if body["model"] == "judge":
            plain = "Output for Text" in asked or "#### " in asked
            text = RATINGS if plain else VERDICT.format(grade=5 if "writer-1" in asked else 3)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60}
        plain_fields = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        return web.json_response({**plain_fields, "choices": [choice], "usage": usage})

    async def counted(_: web.Request) -> web.Response:
        return web.json_response(count)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/count", counted)
    asyncio.set_event_loop(asyncio.new_event_loop())
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, handle_signals=False)


def plain_distilabel(base_url: str, prompts: list[str]) -> int:
    """Run distilabel's own classes as its documentation combines them; return the number of rows."""
    warnings.simplefilter("ignore")
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import GroupColumns, LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration, UltraFeedback

    for name in ("httpx", "httpx2", "distilabel"):  # else every request prints a line
        logging.getLogger(name).setLevel(logging.ERROR)
    with Pipeline("plain") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": prompt} for prompt in prompts])
        writers = [
            TextGeneration(name=f"writer_{n}", llm=OpenAILLM(model=f"writer-{n}", base_url=base_url, api_key="none"))
            for n in (1, 2)
        ]
        group = GroupColumns(columns=["generation", "model_name"], output_columns=["generations", "model_names"])
        judge = UltraFeedback(llm=OpenAILLM(model="judge", base_url=base_url, api_key="none"))
        load >> writers >> group >> judge  # distilabel's way to connect steps
    distiset = pipeline.run(use_cache=False)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler).__name__ != "QueueHandler"]
    return len(distiset["default"]["train"])


def these_pipelines(base_url: str, prompts: list[str], folder: Path) -> int:
    """Run `curate run` with the same models: answers, verdicts, pairs, cleaning, report; return the number of pairs."""
    from curate.recipe.load import make_recipe
    from pipelines import run

    source = folder / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), "utf-8")
    models = [f"openai:writer-{n}@{base_url}" for n in (1, 2)]
    tree = {
        "source": {"paths": str(source)},
        "generate": {"models": models, "n": 1},
        "judge": {"models": f"openai:judge@{base_url}"},
    }
    return run(make_recipe(tree), folder / "RUN").counts["kept"]


def bare_client(base_url: str, prompts: list[str]) -> int:
    """Ask through the client alone, with limits, a cache in memory and a budget; return the number of replies."""
    from curate.recipe.models import named_model
    from pipelines.clients.budget import Budget
    from pipelines.clients.cache import RequestCache
    from pipelines.clients.connect import open_models
    from pipelines.clients.dispatcher import Dispatcher
    from pipelines.clients.requests import Request

    model = named_model(f"openai:writer-1@{base_url}")
    asked = [Request([{"role": "user", "content": prompt}], {"max_tokens": 64}) for prompt in prompts]
    with RequestCache(":memory:") as cache, open_models([model], Dispatcher(cache, Budget(None, [model]))) as clients:
        return sum(reply.error is None for reply in clients[model.model](asked))


def measured(what: str, work: Callable[[], int], root: str) -> float:
    """Return requests per second of some work, by the server's count."""
    before, started = count(root), time.perf_counter()
    rows = work()
    seconds, requests = time.perf_counter() - started, count(root) - before
    print(f"| {what} | {rows:,} | {requests:,} | {seconds:.1f} | {requests / seconds:,.0f} |", flush=True)
    return requests / seconds


def count(root: str) -> int:
    """Return how many requests the server has answered."""
    with urllib.request.urlopen(f"{root}/count") as response:
        return int(response.read())


def main() -> None:
    """Print requests per second of both, and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rows", type=int, default=300, help="prompts for plain distilabel")
    parser.add_argument("--ours", type=int, default=3000, help="prompts for these pipelines")
    parser.add_argument("--port", type=int, default=18199)
    options = parser.parse_args()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(options.port,), daemon=True)
    server.start()
    root = f"http://127.0.0.1:{options.port}"
    wait_for(root)
    prompts = [f"Question {n}: what is {n} plus {n}?" for n in range(max(options.rows, options.ours))]
    print(f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n")
    print("| what | rows out | requests | seconds | requests/s |\n|---|--:|--:|--:|--:|")
    base = f"{root}/v1"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        ours = measured("these pipelines", lambda: these_pipelines(base, prompts[: options.ours], run), root)
    measured("the client alone", lambda: bare_client(base, prompts), root)
    plain = measured("plain distilabel", lambda: plain_distilabel(base, prompts[: options.rows]), root)
    print(f"\nThese pipelines send {ours / plain:.1f} times as many requests per second.")
    server.terminate()


def wait_for(root: str) -> None:
    """Wait until the server answers."""
    for _ in range(100):
        try:
            count(root)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("the server did not start")


if __name__ == "__main__":
    main()
