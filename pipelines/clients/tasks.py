"""Our requests as rows of a distilabel task, and back: this module and llms.py are all that knows distilabel."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from pipelines.clients import llms  # noqa: F401 - first: it silences what distilabel warns of
from pipelines.clients.requests import Reply, Request

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distilabel.pipeline  # noqa: F401 - a task imports it when it is made, and that warns, too
    from distilabel.models.llms.base import LLM
    from distilabel.steps.tasks.base import Task

# "Step … hasn't received a pipeline", once for every task: that is on purpose. distilabel's own pipeline starts a
# process for each task, swallows Ctrl-C, leaves workers behind after a kill, and caches failures.
for name in ("distilabel.step", "distilabel.pipeline"):
    logging.getLogger(name).setLevel(logging.ERROR)


class RequestTask(Task):
    """One request a row, one reply: what is asked and how the reply is read is the caller's."""

    add_raw_output: bool = False
    add_raw_input: bool = False

    @property
    def inputs(self) -> list[str]:
        """The request."""
        return ["request"]

    @property
    def outputs(self) -> list[str]:
        """The text, null where there is none."""
        return ["generation"]

    def format_input(self, input: dict[str, Any]) -> Any:  # noqa: A002 - distilabel's
        """The request as it is."""
        return input["request"]

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: A002 - distilabel's
        """The text as it is."""
        return {"generation": output}


def ask(llm: LLM, requests: Sequence[Request]) -> list[Reply]:
    """Ask all requests at once; replies in their order. The LLM must be loaded."""
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
    )
