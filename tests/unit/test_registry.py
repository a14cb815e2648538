"""Registering, finding and discovering graphs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph

from holdfast.errors import GraphDefinitionError, UnknownGraphError
from holdfast.graphs import registry
from holdfast.graphs.discovery import Discovery, discover


class State(TypedDict, total=False):
    x: int


def build() -> Any:
    graph = StateGraph(State)
    graph.add_node("one", lambda state: {"x": 1})
    graph.add_edge(START, "one")
    return graph


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all()  # what is discovered for good is discovered into the real table
    monkeypatch.setattr(registry, "_specs", {})
    monkeypatch.setattr(registry, "_discovery", Discovery())


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path for apps; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()


GRAPHS = """
from langgraph.graph import START, StateGraph
from holdfast.graphs.registry import register

@register("{name}")
def build():
    graph = StateGraph(dict)
    graph.add_node("one", lambda state: state)
    graph.add_edge(START, "one")
    return graph
"""


def test_the_decorated_builder_stays_as_it_is() -> None:
    def mine() -> Any:
        return build()

    assert registry.register("mine")(mine) is mine
    spec = registry.get("mine")
    assert (spec.name, spec.version, spec.max_crashes, spec.module) == ("mine", "1", None, __name__)


def test_without_a_version_the_one_registered_last_is_found() -> None:
    registry.register("g", version="2")(build)
    registry.register("g", version="10")(build)
    registry.register("g", version="1")(build)
    assert registry.get("g").version == "1"
    assert registry.get("g", "10").version == "10"
    assert [spec.version for spec in registry.all()] == ["2", "10", "1"]


def test_p11_an_unknown_name_names_its_near_matches() -> None:
    registry.register("digest")(build)
    with pytest.raises(UnknownGraphError, match="did you mean 'digest'") as caught:
        registry.get("digets")
    assert caught.value.known == ("digest",)
    with pytest.raises(UnknownGraphError, match="known: digest"):
        registry.get("zzz")


def test_p11_an_unknown_version_names_the_known_ones() -> None:
    registry.register("digest", version="3")(build)
    with pytest.raises(UnknownGraphError, match="no version '4'; registered: 3") as caught:
        registry.get("digest", "4")
    assert (caught.value.graph, caught.value.version, caught.value.known) == ("digest", "4", ("3",))


def test_two_builders_of_one_name_and_version_are_refused_with_both_places() -> None:
    registry.register("g")(build)

    def other() -> Any:
        return build()

    with pytest.raises(GraphDefinitionError) as caught:
        registry.register("g")(other)
    text = str(caught.value)
    assert f"{__name__}.build, {__file__}:" in text
    assert "other, " in text
    assert registry.get("g").builder is build


def test_two_functions_of_one_name_in_one_module_are_two_builders() -> None:
    def twin() -> Any:
        return build()

    registry.register("g")(twin)

    def twin() -> Any:
        return build()

    with pytest.raises(GraphDefinitionError, match="registered twice"):
        registry.register("g")(twin)


def test_importing_a_module_again_registers_once(app: Path) -> None:
    write(app / "again.py", GRAPHS.format(name="again"))
    module = importlib.import_module("again")
    importlib.reload(module)
    del sys.modules["again"]
    importlib.import_module("again")
    assert [spec.name for spec in registry.all()] == ["again"]


def test_one_builder_may_have_several_names_and_versions() -> None:
    registry.register("a")(registry.register("a", version="2")(registry.register("b")(build)))
    assert [(spec.name, spec.version) for spec in registry.all()] == [("a", "2"), ("a", "1"), ("b", "1")]


def test_an_entrypoint_and_a_graph_may_be_registered_themselves() -> None:
    @registry.register("flow")
    @entrypoint()
    def flow(x: int) -> int:
        return x + 1

    assert registry.get("flow").compile().invoke(1) == 2
    assert "test_registry.py:" in registry.get("flow").place
    registry.register("compiled")(build().compile())
    registry.register("graph")(build())
    assert registry.get("compiled").compile().invoke({"x": 0}) == {"x": 1}
    assert registry.get("graph").compile().invoke({"x": 0}) == {"x": 1}


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a\n", "ü", "a" * 201, None, 3])
def test_p11_an_impossible_name_is_refused(name: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="cannot be a graph's name"):
        registry.register(name)


@pytest.mark.parametrize("version", ["", "1 2", "a" * 101, None, 3])
def test_p11_an_impossible_version_is_refused(version: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="cannot have the version"):
        registry.register("g", version=version)


@pytest.mark.parametrize("version", ["", " ", 2, "orders@2", "x" * 101])
def test_p11_an_impossible_cache_version_is_refused(version: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="cache_version"):
        registry.register("g", cache_version=version)


def test_cached_values_are_found_by_the_labels_of_all_registered_versions() -> None:
    registry.register("a", version="1", cache_version="x")(build)
    registry.register("a", version="2", cache_version="y")(lambda: build())
    registry.register("b")(lambda: build())
    assert registry.cache_versions() == {"a": {"a@x", "a@y"}, "b": {"b"}}


@pytest.mark.parametrize(("given", "kept"), [("all", None), ("latest", 1), (3, 3)])
def test_history_says_how_many_checkpoints_stay(given: Any, kept: int | None) -> None:
    registry.register("g", history=given)(build)
    assert registry.get("g").history == kept


@pytest.mark.parametrize("commit", ["off", True, 1, ["relaxed"]])
def test_p11_an_impossible_commit_is_refused(commit: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="commit"):
        registry.register("g", commit=commit)


@pytest.mark.parametrize("history", [0, -1, 2**15, True, 1.5, None, "newest", ["all"]])
def test_p11_an_impossible_history_is_refused(history: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="history"):
        registry.register("g", history=history)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_p11_an_impossible_max_crashes_is_refused(limit: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="max_crashes"):
        registry.register("g", max_crashes=limit)


def test_p11_what_is_no_builder_is_refused() -> None:
    async def later() -> Any:
        return build()

    with pytest.raises(GraphDefinitionError, match="is async"):
        registry.register("g")(later)
    with pytest.raises(GraphDefinitionError, match="takes settings"):
        registry.register("g")(lambda settings: build())
    with pytest.raises(GraphDefinitionError, match="not a function that builds a graph"):
        registry.register("g")("graph")
    with pytest.raises(GraphDefinitionError, match="not a function that builds a graph"):
        registry.register("g")(State)
    assert registry.all() == ()


def test_problems_names_every_graph_that_cannot_be_used() -> None:
    registry.register("good")(build)
    registry.register("bad")(lambda: build().compile(interrupt_before=["one"]))
    (problem,) = registry.problems()
    assert problem.graph == "bad"


def test_an_app_without_graphs_is_skipped_and_one_with_is_found(app: Path) -> None:
    write(app / "plain" / "__init__.py")
    write(app / "shop" / "__init__.py")
    write(app / "shop" / "graphs.py", GRAPHS.format(name="orders"))
    write(app / "single.py")
    discover(["plain", "shop", "single"])
    assert registry.get("orders").module == "shop.graphs"


def test_graphs_may_be_a_package_and_an_app_may_be_called_graphs(app: Path) -> None:
    write(app / "store" / "__init__.py")
    write(app / "store" / "graphs" / "__init__.py", "from store.graphs import orders")
    write(app / "store" / "graphs" / "orders.py", GRAPHS.format(name="store-orders"))
    write(app / "elsewhere" / "graphs" / "__init__.py")
    write(app / "elsewhere" / "graphs" / "graphs.py", GRAPHS.format(name="own"))
    discover(["store", "elsewhere.graphs"])
    assert {spec.name: spec.module for spec in registry.all()} == {
        "store-orders": "store.graphs.orders",
        "own": "elsewhere.graphs.graphs",
    }


def test_an_app_called_graphs_at_the_top_does_not_meet_ours(tmp_path: Path) -> None:
    write(tmp_path / "graphs" / "__init__.py")
    write(tmp_path / "graphs" / "graphs.py", GRAPHS.format(name="theirs"))
    root = Path(registry.__file__).parents[2]
    script = f"""
import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]
from holdfast.graphs import registry
registry.discover_lazily(lambda: ["graphs", "holdfast.graphs.examples"])
assert registry.get("theirs").module == "graphs.graphs"
assert registry.get("approval").module == "holdfast.graphs.examples.approval"
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, timeout=60)


@pytest.mark.parametrize(
    ("text", "error"),
    [("import no_such_module_anywhere", ModuleNotFoundError), ("1 / 0", ZeroDivisionError)],
)
def test_p11_an_error_in_an_existing_graphs_module_is_raised(
    app: Path, text: str, error: type[Exception]
) -> None:
    write(app / "broken" / "__init__.py")
    write(app / "broken" / "graphs.py", text)
    registry.discover_lazily(lambda: ["broken"])
    for _ in range(2):  # the second lookup must not find an empty registry instead
        with pytest.raises(error):
            registry.get("anything")


def test_discovery_runs_at_the_first_lookup_and_once(app: Path) -> None:
    asked = []

    def apps() -> list[str]:
        asked.append(1)
        return ["lazy"]

    write(app / "lazy" / "__init__.py")
    write(app / "lazy" / "graphs.py", GRAPHS.format(name="lazy"))
    registry.discover_lazily(apps)
    assert not asked
    assert registry.get("lazy").name == "lazy"
    registry.all()
    assert len(asked) == 1


def test_a_lookup_while_another_thread_discovers_waits_for_it(app: Path) -> None:
    write(app / "slow" / "__init__.py")
    write(
        app / "slow" / "graphs.py",
        "import threading, slow\nslow.started.set()\nassert slow.go.wait(30)\n" + GRAPHS.format(name="slow"),
    )
    slow = importlib.import_module("slow")
    slow.started, slow.go = threading.Event(), threading.Event()
    registry.discover_lazily(lambda: ["slow"])
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(registry.get("slow").name)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert slow.started.wait(30)
    assert found == []
    slow.go.set()
    for thread in threads:
        thread.join(30)
    assert found == ["slow"] * 3


def test_a_module_may_look_up_graphs_while_it_is_discovered(app: Path) -> None:
    write(app / "eager" / "__init__.py")
    write(
        app / "eager" / "graphs.py",
        GRAPHS.format(name="eager") + '\nfrom holdfast.graphs import registry\nregistry.get("eager")\n',
    )
    registry.discover_lazily(lambda: ["eager"])
    assert registry.get("eager").module == "eager.graphs"


def test_the_registry_needs_neither_django_nor_celery() -> None:
    script = """
import sys
import holdfast
holdfast.register("x")
import holdfast.graphs.registry
wrong = {"django", "celery", "kombu"} & set(sys.modules)
assert not wrong, wrong
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_runner_names_the_installed_apps() -> None:
    from holdfast.runner import discovery

    assert "holdfast.persistence" in discovery.app_names()
    discovery.install()
    registry.all()
