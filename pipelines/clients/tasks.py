"""Send requests as rows of a distilabel task. Only this module and llms.py import distilabel."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from pipelines.clients import llms  # noqa: F401 - first: it silences warnings of distilabel
from pipelines.clients.requests import Reply, Request

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distilabel.pipeline  # noqa: F401 - a new task imports it, with warnings
    from distilabel.models.llms.base import LLM
    from distilabel.steps.tasks.base import Task

# "Step … hasn't received a pipeline" for every task: intended. distilabel's own pipeline starts a process per task,
# swallows Ctrl-C, leaves workers behind after a kill, and caches failures.
for name in ("distilabel.step", "distilabel.pipeline"):
    logging.getLogger(name).setLevel(logging.ERROR)


class RequestTask(Task):
    """One request per row, one reply; the caller writes the request and parses the reply."""

    add_raw_output: bool = False
    add_raw_input: bool = False

    @property
    def inputs(self) -> list[str]:
        """Name of the input column."""
        return ["request"]

    @property
    def outputs(self) -> list[str]:
        """Name of the output column: the text, null after a failure."""
        return ["generation"]

    def format_input(self, input: dict[str, Any]) -> Any:  # noqa: A002 - distilabel's
        """Return the request unchanged."""
        return input["request"]

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: A002 - distilabel's
        """Return the text unchanged."""
        return {"generation": output}


def ask(llm: LLM, requests: Sequence[Request]) -> list[Reply]:
    """Send all requests at once and return the replies in their order. The LLM must be loaded."""
    task = RequestTask(name="ask", llm=llm)
    rows = next(task.process([{"request": request} for request in requests])) if requests else []
    return [_reply(row) for row in rows]


def _reply(row: dict[str, Any]) -> Reply:
    counted = row["distilabel_metadata"]["statistics_ask"]
    return Reply(
        row["generation"],
        row["llm_ask_finish_reason"],
        counted["input_tokens"],
        counted["output_tokens"],
        row["llm_ask_error"],
        row["llm_ask_reasoning"],
        row["llm_ask_logp_per_token"],
    )
