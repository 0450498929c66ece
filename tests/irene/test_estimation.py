"""From a document to what stands on its lines, through a worker that replays recorded answers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from irene.annotations import Annotations, annotate
from irene.cache import ProfileStore, profile_key
from irene.estimation import (
    Document,
    DocumentPlan,
    Estimate,
    Estimator,
    FileEstimates,
    OnProgress,
    plan_document,
)
from irene.estimation import Refused as OutcomeRefused
from irene.source.targets import Options
from irene.tree import matrix_flops, walk
from irene.worker.protocol import (
    Answer,
    CallTime,
    Profile,
    ProfileRequest,
    Refusal,
    RefusalKind,
    Request,
    TraceRequest,
)
from irene.worker.refusals import Refused
from irene.worker.tracing import trace

TEXT = """from torch import nn
class Part(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.a = nn.Linear(n, n)
        self.unused = nn.Linear(n, n)
        self.drop = nn.Dropout(0.1)
    def forward(self, x):
        return self.drop(self.a(x))
# irene: Net(), x=float32[4, 8]
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(Part(8) for _ in range(3))
        self.mix = nn.Sequential(
            nn.Linear(8, 8),
            nn.ReLU(),
        )
    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return self.mix(x)
class Alone(nn.Module):
    def __init__(self, size):
        super().__init__()
    def forward(self, x):
        return x
"""
OPTIONS = Options("settings", device="A100-SXM4-80GB")


class InProcess:
    """A worker that traces in this process and profiles with the clock of a recorded run."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.while_profiling: Callable[[], object] = lambda: None

    async def run(
        self, request: Request, *, limit_s: float, on_progress: OnProgress | None = None
    ) -> Answer:
        self.asked[type(request).__name__] += 1
        assert isinstance(request, TraceRequest | ProfileRequest)
        build = request.build
        if isinstance(request, ProfileRequest):
            build = replace(build, device_type="cpu")
        try:
            made = trace(build)
        except Refused as refused:
            return refused.refusal
        if isinstance(request, TraceRequest):
            return made
        self.while_profiling()
        times = (CallTime((), 1, 0.5, 0.001), CallTime(("mix",), 1, 0.1, 0.001))
        return Profile(made, times, 9, 0, "cpu", "this machine", None, None, "none", "", 1.0, 1,
                       made.torch_version, "2026-01-01T00:00:00+00:00")  # fmt: skip


class Refusing(InProcess):
    """As that one, but refuses as long as it has a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal: Refusal | None = refusal

    async def run(
        self, request: Request, *, limit_s: float, on_progress: OnProgress | None = None
    ) -> Answer:
        return self.refusal or await super().run(request, limit_s=limit_s)


def plan_of(text: str = TEXT, options: Options = OPTIONS) -> DocumentPlan:
    return plan_document(Document("/work/user/net.py", text, 7), options, (), None)


async def estimates_of(planned: DocumentPlan, estimator: Estimator) -> FileEstimates:
    return [it async for it in estimator.estimate(planned)][-1]


@pytest.fixture
async def made() -> Annotations:
    return annotate(await estimates_of(plan_of(), Estimator(InProcess(), None)))


async def test_each_module_class_has_a_lens(made: Annotations) -> None:
    """A class in the model its share of it, a class that cannot be built the reason."""
    lenses = {it.class_name: it.text for it in made.classes}
    assert set(lenses) == {"Part", "Net", "Alone"}
    assert lenses["Part"].startswith("3 x ")
    assert " of Net · A100-SXM4-80GB · 4 x 8 · float32 · modelled " in lenses["Part"]
    assert " of " not in lenses["Net"]
    assert lenses["Alone"].startswith("n/a · ")
    assert "size" in lenses["Alone"]
    assert made.version == 7


async def test_each_line_that_creates_a_submodule_has_a_hint(made: Annotations) -> None:
    """The parts of a Sequential on their own lines; what is never called says so."""
    labels = {it.line: it.label for it in made.lines}
    assert set(labels) == {5, 6, 7, 14, 15, 16, 17}
    assert labels[5].startswith("3 x ")
    assert labels[6] == "not called"
    assert labels[7] == "0 J"


async def test_values_of_lines_add_up_to_the_model(made: Annotations) -> None:
    """The parts and the Sequential are all that the model does."""
    energies = {it.line: it.energy_j or 0.0 for it in made.lines}
    net = next(it for it in made.classes if it.class_name == "Net")
    assert net.card is not None
    shares = {it.line: it.share for it in made.lines}
    assert shares[14] + shares[15] == pytest.approx(1.0)
    assert energies[16] + energies[17] == pytest.approx(energies[15])
    assert energies[5] + energies[7] == pytest.approx(energies[14])


async def test_cards_stand_on_names_statements_and_calls(made: Annotations) -> None:
    spans = {(it.span.start_line, it.card.title) for it in made.hovers}
    assert {(2, "Part"), (11, "Net"), (5, "Linear"), (14, "Part"), (15, "mix")} <= spans
    assert (9, "Linear") in spans  # self.a(x) in forward
    assert (22, "mix") in spans


async def test_a_problem_brings_the_comment_that_cures_it(made: Annotations) -> None:
    (problem,) = made.problems
    assert problem.class_name == "Alone"
    assert problem.comment == "# irene: Alone(size=64), x=float32[batch, sequence, 64]"
    assert problem.insert_line == 23


async def test_before_the_first_answer_places_are_known() -> None:
    """Placeholders stand where the values will."""
    planned = plan_of()
    early = annotate(FileEstimates(planned, (), planned.order))
    assert {it.class_name: it.text for it in early.classes} == dict.fromkeys(
        ("Part", "Net", "Alone"), "…"
    )
    assert early.lines == ()


async def test_another_card_of_a_generation_costs_no_trace() -> None:
    """Traces of targets that did not change are remembered, until a file on disk changes."""
    worker = InProcess()
    estimator = Estimator(worker, None)
    await estimates_of(plan_of(), estimator)
    n_traces = worker.asked["TraceRequest"]
    card = "A100-PCIE-40GB"
    other = await estimates_of(plan_of(options=replace(OPTIONS, device=card)), estimator)
    assert worker.asked["TraceRequest"] == n_traces
    assert isinstance(other.outcomes[0], Estimate)
    assert other.outcomes[0].device_id == card
    await estimates_of(plan_of(options=replace(OPTIONS, device="T4")), estimator)
    assert worker.asked["TraceRequest"] == 2 * n_traces  # it runs other kernels
    estimator.forget()
    await estimates_of(plan_of(), estimator)
    assert worker.asked["TraceRequest"] > 2 * n_traces


KERNELS = """from torch import nn
# irene: Net(), x=float32[2, 6, 32]
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(32, 16)
    def forward(self, x):
        heads = x.view(2, 6, 4, 8)
        return self.rnn(nn.functional.scaled_dot_product_attention(heads, heads, heads).flatten(2))[0]
"""


async def test_a_device_is_priced_by_its_own_kernels(tmp_path: Path) -> None:
    """A CPU has other kernels than a GPU; a profile on the one is still known for the other."""
    store, worker = ProfileStore(tmp_path), InProcess()
    estimator = Estimator(worker, store)
    gpu, cpu = (
        plan_of(KERNELS, replace(OPTIONS, device=device)).order[0] for device in ("T4", "cpu")
    )
    profiled = await estimator.profile(cpu, None)
    on_gpu, on_cpu = await estimator.outcome(gpu), await estimator.outcome(cpu)
    assert isinstance(profiled, Estimate)
    assert isinstance(on_gpu, Estimate)
    assert isinstance(on_cpu, Estimate)
    names = [
        {node.class_name for node, _ in walk(it.trace.root) if node.kind == "primitive"}
        for it in (on_gpu, on_cpu)
    ]
    assert {"gru", "_scaled_dot_product_efficient_attention"} <= names[0]
    assert {"tanh_", "_scaled_dot_product_flash_attention_for_cpu"} <= names[1]
    assert "gru" not in names[1]
    assert matrix_flops(on_gpu.trace.root) == matrix_flops(on_cpu.trace.root)
    assert on_cpu.profile == profiled.profile
    assert on_gpu.profiled_elsewhere == (profiled.device_id,)


async def test_a_profile_is_kept_and_shown_only_for_its_device(tmp_path: Path) -> None:
    store, worker = ProfileStore(tmp_path), InProcess()
    estimator = Estimator(worker, store)
    here = plan_of(options=replace(OPTIONS, device="cpu"))
    profiled = await estimator.profile(here.order[0], None)
    assert isinstance(profiled, Estimate)
    assert profiled.priced.kind == "profiled"
    again = await Estimator(worker, store).outcome(here.order[0])
    assert isinstance(again, Estimate)
    assert again.profile == profiled.profile
    elsewhere = await Estimator(worker, store).outcome(plan_of().order[0])
    assert isinstance(elsewhere, Estimate)
    assert elsewhere.priced.kind == "modelled"
    assert elsewhere.profiled_elsewhere == (profiled.device_id,)
    await estimator.profile(here.order[0], None)
    assert worker.asked["ProfileRequest"] == 1
    await estimator.profile(here.order[0], None, fresh=True)
    assert worker.asked["ProfileRequest"] == 2


async def test_a_profile_names_this_machine_as_the_source_of_its_device() -> None:
    """Whatever device was asked for; a device that is here keeps who chose it."""
    for device, where in (("A100-SXM4-80GB", "this machine"), ("cpu", "setting irene.device")):
        planned = plan_of(options=replace(OPTIONS, device=device))
        profiled = await Estimator(InProcess(), None).profile(planned.order[0], None)
        assert isinstance(profiled, Estimate)
        assert profiled.target.device.where == where


async def test_a_predictor_goes_before_the_device() -> None:
    """It speaks for its machine; cards and reports say that it spoke, and who chose it."""
    planned = plan_of(options=replace(OPTIONS, predictor="IrEne device 1"))
    found = await Estimator(InProcess(), None).outcome(planned.order[0])
    assert isinstance(found, Estimate)
    assert (found.device_id, found.predictor) == ("IrEne-device-1", "IrEne device 1")
    assert found.priced.kind == "predicted"
    assert found.notes[0].endswith(
        "the device A100-SXM4-80GB (setting irene.device) does not count"
    )
    made = annotate(FileEstimates(planned, (found,), ()))
    card = next(it.card for it in made.classes if it.class_name == "Net")
    assert card is not None
    assert ("predictor", "IrEne device 1", "setting irene.predictor") in card.conditions
    assert "predicted" in next(it.text for it in made.classes if it.class_name == "Net")


async def test_an_unknown_predictor_is_refused() -> None:
    """With who named it, and what to do."""
    planned = plan_of(options=replace(OPTIONS, predictor="mine"))
    found = await Estimator(InProcess(), None).outcome(planned.order[0])
    assert isinstance(found, OutcomeRefused)
    assert "unknown predictor 'mine'" in found.refusal.message
    assert "setting irene.predictor" in found.refusal.advice


async def test_a_stored_profile_stands_at_the_lines_of_the_text_as_it_is(tmp_path: Path) -> None:
    """A comment changes no key; it moves what stands below it."""
    store, options = ProfileStore(tmp_path), replace(OPTIONS, device="cpu")
    estimator = Estimator(InProcess(), store)
    await estimator.profile(plan_of(options=options).order[0], None)
    before = annotate(await estimates_of(plan_of(options=options), estimator))
    moved_plan = plan_of(f"# one\n\n{TEXT}", options)
    moved = annotate(await estimates_of(moved_plan, estimator))
    assert any("profiled" in it.text for it in moved.classes)
    assert [(it.line - 2, it.label) for it in moved.lines] == [
        (it.line, it.label) for it in before.lines
    ]


async def test_sizes_stand_in_a_card_only_where_they_count() -> None:
    """A comment that fixes the shapes leaves nothing to the settings."""
    for shape, names in (("4, 8", set()), ("batch, 8", {"batch size"})):
        text = TEXT.replace("x=float32[4, 8]", f"x=float32[{shape}]")
        made = annotate(await estimates_of(plan_of(text), Estimator(InProcess(), None)))
        card = next(it.card for it in made.classes if it.class_name == "Net")
        assert card is not None
        shown = {name for name, _, _ in card.conditions}
        assert shown & {"batch size", "sequence length"} == names


@pytest.mark.parametrize(
    ("kind", "is_asked_again"),
    [("no-torch", True), ("missing-import", True), ("crash", True), ("constructor", False)],
)
async def test_a_refusal_that_an_installation_cures_is_not_remembered(
    kind: RefusalKind, is_asked_again: bool
) -> None:
    """The text is the same, and yet another try may succeed."""
    worker = Refusing(Refusal(kind, "no", None, "Install it."))
    estimator, target = Estimator(worker, None), plan_of().order[0]
    assert isinstance(await estimator.outcome(target), OutcomeRefused)
    worker.refusal = None
    assert isinstance(await estimator.outcome(target), Estimate) is is_asked_again


async def test_a_profile_of_code_that_changed_while_it_ran_is_not_kept(tmp_path: Path) -> None:
    """What ran is neither known to be the old helper nor the new one."""
    helper = tmp_path / "helper_layer.py"
    code = "from torch import nn\nclass Helper(nn.{layer}):\n    pass\n"
    helper.write_text(code.format(layer="Linear"))
    text = (
        "from torch import nn\nfrom helper_layer import Helper\n# irene: Net(), x=float32[4, 8]\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a = Helper(8, 8)\n    def forward(self, x):\n        return self.a(x)\n"
    )
    document, options = Document(str(tmp_path / "net.py"), text), replace(OPTIONS, device="cpu")
    target = plan_document(document, options, (str(tmp_path),), None).order[0]
    worker, store = InProcess(), ProfileStore(tmp_path / "cache")

    async def kind_after(edit: Callable[[], object]) -> str:
        worker.while_profiling = edit
        estimator = Estimator(worker, store)
        shown = await estimator.profile(target, None, fresh=True)
        assert isinstance(shown, Estimate)
        assert shown.priced.kind == "profiled"
        later = await Estimator(worker, store).outcome(target)
        assert isinstance(later, Estimate)
        return later.priced.kind

    assert await kind_after(lambda: helper.write_text(helper.read_text() + "X = 1\n")) == "modelled"
    assert (
        await kind_after(lambda: helper.write_text("# a comment\n" + helper.read_text()))
        == "profiled"
    )


async def test_a_cache_that_another_process_holds_stops_nothing_else(tmp_path: Path) -> None:
    """Hashing, SQLite and prices are work of other threads: the loop of an editor goes on."""
    store, target = ProfileStore(tmp_path), plan_of(options=replace(OPTIONS, device="cpu")).order[0]
    estimator = Estimator(InProcess(), store)
    await estimator.outcome(target)
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, time.monotonic() - before_s)

    with closing(sqlite3.connect(tmp_path / "profiles.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        ticking = asyncio.create_task(tick())
        profiling = asyncio.create_task(estimator.profile(target, None))
        await asyncio.sleep(2.0)
        assert not profiling.done()
        assert isinstance(await estimator.outcome(target), Estimate)  # reads do not wait
        other.rollback()
    outcome = await profiling
    ticking.cancel()
    assert isinstance(outcome, Estimate)
    assert longest_s < 1.0
    assert store.profiles(profile_key(target.build, outcome.trace)).keys() == {outcome.device_id}


async def test_a_length_that_no_input_has_does_not_count() -> None:
    """Images have no sequence; a batch they have."""
    text = (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.conv = nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, pixel_values):\n        return self.conv(pixel_values)\n"
    )
    made = annotate(await estimates_of(plan_of(text), Estimator(InProcess(), None)))
    assert made.classes[0].card is not None
    shown = {name for name, _, _ in made.classes[0].card.conditions}
    assert shown & {"batch size", "sequence length"} == {"batch size"}


@pytest.mark.parametrize(
    ("device", "dtype", "is_said"),
    [("A100-SXM4-80GB", "float16", False), ("A100-SXM4-80GB", None, True), ("cpu", None, True)],
)
async def test_flash_attention_is_said_not_to_run_everywhere(
    device: str, dtype: str | None, is_said: bool
) -> None:
    options = replace(OPTIONS, device=device, dtype=dtype, attention="flash_attention_2")
    found = await estimates_of(plan_of(options=options), Estimator(InProcess(), None))
    outcome = found.outcomes[0]
    assert isinstance(outcome, Estimate)
    assert any("runs in float16 and bfloat16" in it for it in outcome.notes) == is_said


async def test_an_unknown_device_is_refused_with_its_source() -> None:
    outcome = (await estimates_of(plan_of(options=replace(OPTIONS, device="A10O")),
                                  Estimator(InProcess(), None))).outcomes[0]  # fmt: skip
    assert not isinstance(outcome, Estimate)
    refusal: Refusal = outcome.refusal
    assert refusal.kind == "device"
    assert "A10" in refusal.message
    assert refusal.advice == (
        'Choose one with the command "IrEne: Select device"; it was set in: setting irene.device.'
    )
