"""The section of the recipe about machines; nothing of what a run contains depends on it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from curate.schema.section import AS_IS, Holds, Section

ByName = BeforeValidator(lambda value: {"use": value} if isinstance(value, str) else value)


class Engine(Section):
    """Where the work on blocks is done: by threads of this process, or by a Ray cluster (extra: ray)."""

    use: Annotated[Literal["threads", "ray"], AS_IS] = Field("threads", description="threads or ray")
    address: Annotated[str | None, Holds("address")] = Field(
        None,
        description='Of a Ray cluster ("auto": the one in which the command runs); null = one of this machine',
    )
    workers: int | None = Field(None, ge=1, le=100_000, description="Cores in use at most; null = all there are")
