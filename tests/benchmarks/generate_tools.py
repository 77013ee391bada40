"""
Time one tool on the work of generate.py, which runs this in a process of its own, under a Python that has the tool.

    python -m tests.benchmarks.generate_tools TOOL ROOT PROMPTS [--limit LIMIT]       prints JSON

Each tool is used as its documentation shows: two models answer every prompt, and a judge grades every answer with a
request of its own. The process does the work for a few prompts twice before: the first loads libraries, and the second
tells how many of the seconds do not depend on the number of prompts.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from tests.benchmarks.endpoint import counts

WRITERS = ("writer-1", "writer-2")
FEW = 4  # prompts
Tool = Callable[[str, list[str], int | None, Path], int]  # returns the prompts with all answers and verdicts


def prefcurate(base_url: str, prompts: list[str], limit: int | None, folder: Path) -> int:
    """Run `curate run`: answers, verdicts, pairs, cleaning, report and card. The limit is fixed, without search."""
    import polars as pl

    from curate.recipe.load import make_recipe
    from pipelines import run
    from pipelines.clients import endpoint
    from tests.benchmarks.concurrency import FixedLimiter

    source = folder / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), "utf-8")
    settings = {"base_url": base_url} | ({"concurrency": limit} if limit else {})
    tree = {
        "source": {"paths": str(source)},
        "generate": {"models": [{"model": f"openai:{name}", **settings} for name in WRITERS], "n": 1},
        "judge": {"models": {"model": "openai:judge-prefcurate", **settings}, "method": "rubric"},
    }
    with mock.patch.object(endpoint, "Limiter", FixedLimiter) if limit else contextlib.nullcontext():
        run(make_recipe(tree), folder / "RUN")
    graded = pl.read_parquet(folder / "RUN" / "candidates.parquet").drop_nulls("score")
    return graded.group_by("prompt_id").len().filter(pl.col("len") == len(WRITERS)).height


def distilabel(base_url: str, prompts: list[str], _limit: int | None, folder: Path) -> int:
    """Run OpenAILLM, TextGeneration and UltraFeedback in a Pipeline, in batches of 50, the default."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import GroupColumns, LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration, UltraFeedback

    for name in ("httpx", "httpx2", "distilabel"):  # else every request prints a line
        logging.getLogger(name).setLevel(logging.ERROR)

    def llm(model: str) -> OpenAILLM:
        return OpenAILLM(model=model, base_url=base_url, api_key="none")

    with Pipeline("plain", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": prompt} for prompt in prompts])
        for name in WRITERS:
            writer = TextGeneration(llm=llm(name))
            listed = GroupColumns(columns=["generation", "model_name"], output_columns=["generations", "model_names"])
            judge = UltraFeedback(llm=llm("judge-distilabel"))
            load >> writer >> listed >> judge  # distilabel's way to connect steps
    leaves = [leaf["train"] for leaf in pipeline.run(use_cache=False).values()]
    return len(set.intersection(*({row["instruction"] for row in rows if whole(row)} for rows in leaves)))


def whole(row: dict[str, Any]) -> bool:
    """Tell whether distilabel's row has an answer and its grade: what failed is None, in a list or alone."""
    return all(None not in (row[column] or [None]) for column in ("generations", "ratings"))


def data_designer(base_url: str, prompts: list[str], limit: int | None, folder: Path) -> int:
    """Run `create` with text columns and judge columns. The limit is max_parallel_requests, 4 by default."""
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_HOME": str(folder)}  # read when imported
    import data_designer.config as dd
    import pandas as pd
    from data_designer.interface import DataDesigner

    bytes_as_tokens()
    designer = DataDesigner(
        artifact_path=folder / "artifacts",
        model_providers=[dd.ModelProvider(name="local", endpoint=base_url, provider_type="openai", api_key="none")],
    )
    designer.set_run_config(dd.RunConfig(otel_metrics_port=None))
    parallel = {"max_parallel_requests": limit} if limit else {}
    models = [
        dd.ModelConfig(
            alias=name, model=name, provider="local", inference_parameters=dd.ChatCompletionInferenceParams(**parallel)
        )
        for name in (*WRITERS, "judge-data-designer")
    ]
    builder = dd.DataDesignerConfigBuilder(model_configs=models)
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"instruction": prompts})))
    grades = {grade: f"grade {grade}" for grade in range(1, 6)}
    overall = dd.Score(name="Overall", description="How good the answer is.", options=grades)
    verdicts = []
    for number, name in enumerate(WRITERS, 1):
        builder.add_column(
            dd.LLMTextColumnConfig(name=f"answer_{number}", prompt="{{ instruction }}", model_alias=name)
        )
        verdicts.append(f"verdict_{number}")
        asked = f"Grade the answer.\n\nQuestion: {{{{ instruction }}}}\n\nAnswer: {{{{ answer_{number} }}}}"
        builder.add_column(
            dd.LLMJudgeColumnConfig(
                name=verdicts[-1], prompt=asked, model_alias="judge-data-designer", scores=[overall]
            )
        )
    rows = designer.create(builder, num_records=len(prompts)).load_dataset()
    return len(rows.dropna(subset=verdicts).drop_duplicates("instruction"))


def bytes_as_tokens() -> None:
    """Let Data Designer count bytes instead of tokens for its report: its tokenizer would be downloaded."""
    import tiktoken.registry

    ranks = {bytes([byte]): byte for byte in range(256)}
    counter = tiktoken.Encoding("bytes", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    tiktoken.registry.ENCODINGS["cl100k_base"] = counter


def client(base_url: str, prompts: list[str], _limit: int | None, _folder: Path) -> int:
    """Send one request per prompt through our client alone, with a cache in memory and a budget."""
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


TOOLS: dict[str, Tool] = {
    "prefcurate": prefcurate,
    "prefcurate's client alone": client,
    "distilabel": distilabel,
    "Data Designer": data_designer,
}


def main() -> None:
    """Print seconds, complete rows, and what the endpoint counted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("root", help="address of the endpoint")
    parser.add_argument("prompts", type=int)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    prompts = [f"Question {n}: what is {n} plus {n}?" for n in range(FEW + options.prompts)]
    tool, base_url = TOOLS[options.tool], f"{options.root}/v1"

    def timed(some: list[str]) -> tuple[float, int]:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            counts(options.root)
            started = time.perf_counter()
            rows = tool(base_url, some, options.limit, Path(folder))
            return time.perf_counter() - started, rows

    timed(prompts[:FEW])
    start, _ = timed(prompts[:FEW])
    seconds, rows = timed(prompts[FEW:])
    print(json.dumps({"seconds": seconds, "start": start, "rows": rows, "counts": counts(options.root)}))


if __name__ == "__main__":
    main()
