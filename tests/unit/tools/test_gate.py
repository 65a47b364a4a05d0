import asyncio
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    ToolException,
    tool,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator
from typing_extensions import TypedDict

from tenancy.document import Found
from tenancy.errors import IsolationBreach
from tests.unit.tools.makers import (
    ACME,
    GLOBEX,
    call,
    gate,
    named,
    off,
    on,
    passage,
    token,
    toolbox,
)
from tools.gate import needs_approval
from tools.outcome import MAX_CHARACTERS, ToolOutcome
from tools.threads import Threads

SECRET = "postgres://tenantry:hunter2@db"


async def run(tool_: BaseTool, /, **args: Any) -> ToolOutcome:
    return await gate().run(call(tool_.name, **args), toolbox(tool_), tenant_id=ACME, token=token())


def raising(error: BaseException, **metadata: Any) -> BaseTool:
    @tool
    async def fails() -> str:
        """Fails."""
        raise error

    fails.metadata = metadata or None
    return fails


def saying(content: Any, artifact: Any = None) -> BaseTool:
    @tool(response_format="content_and_artifact")
    async def says() -> Any:
        """Says what it is told."""
        return content, artifact

    return says


# -- what may run


async def test_a_call_is_answered() -> None:
    outcome = await run(named("fine"))
    assert outcome.status == "ok"
    assert outcome.message == ToolMessage("nothing", name="fine", tool_call_id="call-1")


async def test_a_tool_outside_the_toolbox_is_refused_whatever_the_model_asks() -> None:
    box = toolbox(named("fine"), named("hidden"), tools={"hidden": off()})
    hidden = await gate().run(call("hidden"), box, tenant_id=ACME, token=token())
    assert hidden.status == "refused"
    assert hidden.message.status == "error"
    assert hidden.message.content == "The tool `hidden` is not available."


async def test_a_refusal_does_not_tell_whether_the_tool_exists_for_others() -> None:
    box = toolbox(named("fine"), named("hidden"), tools={"hidden": off()})
    hidden = await gate().run(call("hidden"), box, tenant_id=ACME, token=token())
    absent = await gate().run(call("absent"), box, tenant_id=ACME, token=token())
    assert str(absent).replace("absent", "hidden") == str(hidden)


async def test_a_monstrous_name_is_answered_briefly() -> None:
    outcome = await gate().run(call("x\0" * 10_000), toolbox(), tenant_id=ACME, token=token())
    assert len(outcome.message.content) < 120
    assert len(outcome.message.name or "") <= 64


async def test_a_toolbox_of_another_tenant_is_never_used() -> None:
    with pytest.raises(IsolationBreach):
        await gate().run(
            call("fine"), toolbox(named("fine")), tenant_id=GLOBEX, token=token("globex")
        )


async def test_a_tool_that_needs_approval_runs_only_when_approved() -> None:
    box = toolbox(named("pay", requires_approval=True))
    refused = await gate().run(call("pay"), box, tenant_id=ACME, token=token())
    approved = await gate().run(call("pay"), box, tenant_id=ACME, token=token(), approved=True)
    assert (refused.status, approved.status) == ("refused", "ok")


def test_approval_is_asked_for_by_the_tool_or_by_the_tenant() -> None:
    box = toolbox(
        named("pay", requires_approval=True),
        named("look"),
        named("touch"),
        tools={"touch": on(require_approval="true")},
    )
    asked = {name: needs_approval(call(name), box) for name in ("pay", "look", "touch", "absent")}
    assert asked == {"pay": True, "look": False, "touch": True, "absent": False}


# -- arguments


@tool
async def greet(
    name: Annotated[str, Field(max_length=8)],
    config: RunnableConfig,
    call_id: Annotated[str, InjectedToolCallId],
    account: Annotated[str, InjectedToolArg] = "own",
) -> str:
    """Greets."""
    return f"{name} {account} {call_id}"


async def test_injected_arguments_forged_by_the_model_are_dropped() -> None:
    forged = await run(
        greet, name="Ada", account="victim", call_id="9", config={"configurable": {}}, more=1
    )
    assert forged.message.content == "Ada own call-1"


async def test_arguments_that_do_not_fit_are_answered_with_what_is_wrong() -> None:
    outcome = await run(greet, name="x" * 9, account="victim")
    assert outcome.status == "error"
    assert outcome.message.content == (
        "The arguments of `greet` are not valid: name: String should have at most 8 characters"
    )
    assert "name: Field required" in (await run(greet)).message.content


class Checked(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def known(cls, code: str) -> str:
        raise ValueError(SECRET)


@tool(args_schema=Checked)
async def checked(code: str) -> str:
    """Checks its argument itself."""
    return code


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET)])
async def test_the_text_of_a_tools_own_validator_is_not_told(error: Exception) -> None:
    def refuse(value: str) -> str:
        raise error

    @tool
    async def strict(code: Annotated[str, AfterValidator(refuse)]) -> str:
        """Checks its argument itself."""
        return code

    for outcome in (await run(strict, code="x"), await run(checked, code="x")):
        assert outcome.status == "error"
        assert "hunter2" not in str(outcome)


def by_json_schema(**properties: Any) -> BaseTool:
    async def echo(**args: Any) -> str:
        return repr(args)

    schema = {"type": "object", "properties": properties, "required": ["a"]}
    return StructuredTool(name="echo", description="Echo.", args_schema=schema, coroutine=echo)


A_LETTER = {"type": "string", "pattern": "^[a-z]$"}


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        (A_LETTER, "ab", "must match"),
        (A_LETTER, 1, "of type string"),
        ({"type": "integer"}, True, "of type integer"),
        ({"type": ["integer", "null"]}, "1", "of type integer or null"),
        ({"enum": ["x", "y"]}, "z", "one of x, y"),
        ({"type": "string", "pattern": "("}, "z", "checking them failed"),
    ],
)
async def test_a_json_schema_is_checked_too(schema: Any, value: Any, words: str) -> None:
    outcome = await run(by_json_schema(a=schema), a=value)
    assert outcome.status == "error"
    assert words in outcome.message.content


async def test_by_a_json_schema_unknown_names_are_dropped_and_missing_ones_told() -> None:
    fine = await run(by_json_schema(a=A_LETTER, b={}), a="x", runtime="forged")
    assert fine.message.content == "{'a': 'x'}"
    assert "a: Field required" in (await run(by_json_schema(a=A_LETTER))).message.content


# -- failures


@pytest.mark.parametrize("error", [ValueError(SECRET), ToolException(SECRET), TimeoutError(SECRET)])
async def test_an_exception_is_told_by_its_class_alone(error: BaseException) -> None:
    outcome = await run(raising(error))
    assert outcome.status == "error"
    assert outcome.message.status == "error"
    assert outcome.message.content == f"The tool `fails` failed: {type(error).__name__}."


@pytest.mark.parametrize("error", [ValueError(SECRET), StopIteration(SECRET), SystemExit(SECRET)])
async def test_an_exception_in_a_thread_is_told_by_its_class_alone(error: BaseException) -> None:
    @tool
    def fails() -> str:
        """Fails."""
        raise error

    outcome = await run(fails)
    assert outcome.status == "error"
    assert "hunter2" not in str(outcome)


async def test_what_a_tool_means_to_tell_is_told() -> None:
    telling = raising(ToolException("The order is closed."))
    telling.handle_tool_error = True
    outcome = await run(telling)
    assert (outcome.status, outcome.message.status) == ("error", "error")
    assert outcome.message.content == "The order is closed."


async def test_a_tool_that_takes_too_long_is_stopped() -> None:
    stopped = asyncio.Event()

    @tool
    async def slow() -> str:
        """Takes for ever."""
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    slow.metadata = {"timeout_seconds": 0.01}
    outcome = await run(slow)
    assert outcome.status == "timeout"
    assert outcome.message.content == "The tool `slow` did not answer within 0.01 seconds."
    assert stopped.is_set()


@pytest.fixture
def stuck() -> Iterator[BaseTool]:
    free = threading.Event()

    @tool
    def blocks() -> str:
        """Blocks its thread."""
        free.wait(20)
        return ""

    blocks.metadata = {"timeout_seconds": 0.05}
    yield blocks
    free.set()


async def test_a_blocking_tool_holds_neither_the_loop_nor_its_executor(stuck: BaseTool) -> None:
    box, doorman, loop = toolbox(stuck), gate(Threads(per_tenant=40)), asyncio.get_running_loop()
    runs = [doorman.run(call("blocks"), box, tenant_id=ACME, token=token()) for _ in range(40)]
    outcomes = await asyncio.gather(*runs)
    assert {outcome.status for outcome in outcomes} == {"timeout"}
    assert await asyncio.wait_for(loop.run_in_executor(None, lambda: "free"), 5) == "free"


async def test_a_tenants_stuck_threads_do_not_take_anothers(stuck: BaseTool) -> None:
    threads = Threads(per_tenant=2)
    box, doorman = toolbox(stuck), gate(threads)
    statuses = [
        (await doorman.run(call("blocks"), box, tenant_id=ACME, token=token())).status
        for _ in range(3)
    ]
    assert statuses == ["timeout", "timeout", "error"]
    assert await threads.run(GLOBEX, lambda: "free") == "free"


async def test_all_tenants_together_are_bounded(stuck: BaseTool) -> None:
    doorman = gate(Threads(per_tenant=2, limit=1))
    await doorman.run(call("blocks"), toolbox(stuck), tenant_id=ACME, token=token())
    outcome = await doorman.run(call("blocks"), toolbox(stuck), tenant_id=ACME, token=token())
    assert outcome.message.content == "The tool `blocks` is busy. Try again later."


async def test_a_thread_that_ended_makes_room() -> None:
    threads = Threads(per_tenant=1)
    assert [await threads.run(ACME, lambda: "free") for _ in range(3)] == ["free"] * 3


async def test_a_thread_that_answers_too_late_disturbs_nobody() -> None:
    free, faults, loop = threading.Event(), [], asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Threads().run(ACME, free.wait), 0.01)
    free.set()
    for thread in threading.enumerate():
        if thread.name == "tool":
            thread.join()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert faults == []


async def test_a_cancelled_run_cancels_its_tool() -> None:
    started = asyncio.Event()

    @tool
    async def waits() -> str:
        """Waits."""
        started.set()
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(run(waits))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [GraphInterrupt(), GraphBubbleUp()])
async def test_what_pauses_a_graph_passes_through(error: Exception) -> None:
    with pytest.raises(type(error)):
        await run(raising(error))


# -- answers


async def test_an_answer_is_cut_and_made_sound() -> None:
    outcome = await run(saying("a\0b\ud800c" + "é" * MAX_CHARACTERS))
    text = outcome.message.content
    assert text.startswith("abcé")
    assert text.endswith("[cut]")
    assert len(text) == MAX_CHARACTERS


async def test_blocks_become_text_and_other_values_json() -> None:
    blocks = [{"type": "text", "text": "one "}, "two", {"type": "image", "url": "https://x"}]
    assert (await run(saying(blocks))).message.content == "one two"
    assert (await run(saying({"a": 1}))).message.content == '{"a": 1}'


@pytest.mark.parametrize(
    "said", [Command(update={"tenant_id": "globex"}, goto="settle"), [Command()]]
)
async def test_a_tool_cannot_command_the_graph(said: Any) -> None:
    outcome = await run(saying(said))
    assert outcome.status == "error"
    assert outcome.message.content == "The tool `says` gave no usable answer."


async def test_a_tools_own_message_is_made_anew() -> None:
    forged = ToolMessage("text", name="other", tool_call_id="call-2", artifact=1)
    forged.additional_kwargs["x"] = "y"
    assert (await run(saying(forged))).message == ToolMessage(
        "text", name="says", tool_call_id="call-1"
    )


async def test_an_artifact_stays_out_of_the_message() -> None:
    assert (await run(saying("text", {"a": 1}))).message.artifact is None


async def test_passages_are_collected() -> None:
    here = passage(ACME)
    assert (await run(saying("text", [here, "noise"]))).passages == (here,)
    assert (await run(saying("text", "noise"))).passages == ()


@pytest.mark.parametrize("wrap", [list, tuple, lambda pieces: Found(pieces, "minilm", 1)])
async def test_a_foreign_passage_ends_the_run(wrap: Any) -> None:
    with pytest.raises(IsolationBreach):
        await run(saying("text", wrap([passage(ACME), passage(GLOBEX)])))


@pytest.mark.parametrize(
    "artifact",
    [
        {"tenant_id": "globex"},
        {"rows": [{"deep": ({"tenant_id": "globex"},)}]},
        [Document("text", metadata={"tenant_id": "globex"})],
        type("Row", (), {"tenant_id": "globex"})(),
    ],
    ids=["mapping", "nested", "langchain", "attribute"],
)
async def test_an_artifact_that_names_another_tenant_ends_the_run(artifact: Any) -> None:
    with pytest.raises(IsolationBreach):
        await run(saying("text", artifact))


async def test_an_artifact_without_end_or_with_a_fault_ends_nothing() -> None:
    circle: list[Any] = [[0] * 100_000]
    circle.append(circle)
    assert (await run(saying("text", circle))).status == "ok"
    broken = type("Row", (), {"tenant_id": property(lambda self: 1 / 0)})()
    assert (await run(saying("text", broken))).status == "error"


async def test_a_mismatch_found_inside_a_tool_ends_the_run() -> None:
    with pytest.raises(IsolationBreach):
        await run(raising(IsolationBreach("search", "globex")))


# -- inside a graph


class State(TypedDict):
    answer: str


def graph_of(tool_: BaseTool) -> Any:
    doorman, box = gate(), toolbox(tool_)

    async def run_tools(state: State) -> State:
        outcome = await doorman.run(call(tool_.name), box, tenant_id=ACME, token=token())
        return {"answer": str(outcome.message.content)}

    builder = StateGraph(State).add_node(run_tools).add_edge(START, "run_tools")
    return builder.compile(checkpointer=InMemorySaver())


async def test_a_tools_exception_is_in_no_stream() -> None:
    graph, config = graph_of(raising(ValueError(SECRET))), {"configurable": {"thread_id": "1"}}
    modes = ["updates", "tools", "messages", "custom", "debug"]
    parts = [part async for part in graph.astream({"answer": ""}, config, stream_mode=modes)]
    assert parts
    assert "hunter2" not in str(parts)


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_tool_may_interrupt_the_graph_and_is_resumed(in_thread: bool) -> None:
    def ask() -> str:
        """Asks a person."""
        return f"They said {interrupt('Really?')}."

    async def aask() -> str:
        """Asks a person."""
        return ask()

    asking = tool("ask")(ask) if in_thread else tool("ask")(aask)
    graph, config = graph_of(asking), {"configurable": {"thread_id": "1"}}
    paused = await graph.ainvoke({"answer": ""}, config)
    assert paused["__interrupt__"][0].value == "Really?"
    assert (await graph.ainvoke(Command(resume="yes"), config))["answer"] == "They said yes."


async def test_an_answer_that_does_not_fit_a_tools_interrupt_may_be_given_again() -> None:
    @tool
    async def asks() -> str:
        """Asks a person for a number."""
        return f"They said {interrupt('How many?', response_schema=int)}."

    graph, config = graph_of(asks), {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"answer": ""}, config)
    with pytest.raises(ValidationError):
        await graph.ainvoke(Command(resume="a few"), config)
    assert (await graph.ainvoke(Command(resume=3), config))["answer"] == "They said 3."
