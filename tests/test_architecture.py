"""The house rules that a reader relies on: who imports whom, file sizes, nothing unpickled, a quick command line."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import raybench

ROOT = Path(raybench.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(("raybench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in FILES
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(name, *, on_load=False):
    """Return what a module imports, in full names; `on_load` leaves out what is imported inside functions."""
    found, waiting = set(), [TREES[name]]
    while waiting:
        node = waiting.pop()
        if is_type_checking(node) or (on_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else node.module for full in whole}
        waiting += ast.iter_child_nodes(node)
    return found


def room(module):
    """Return the room of a raybench module: `data` of raybench.data.splits, `store` of raybench.storage.store."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def rooms_that(name, **options):
    return {room(module) for module in imports(name, **options) if module.split(".")[0] == "raybench"}


def modules_in(*rooms):
    return [name for name in MODULES if room(name) in rooms]


def test_only_stages_import_ray():
    assert {name for name in MODULES if "ray" in {module.split(".")[0] for module in imports(name)}} <= set(
        modules_in("stages")
    )
    assert any("ray" in imports(name) for name in modules_in("stages"))


@pytest.mark.parametrize(
    ("rooms", "allowed"),
    [
        (("errors",), set()),
        (("registry", "spaces", "store"), {"errors"}),
        (("metrics",), {"metrics"}),
        (("data",), {"data", "errors", "registry"}),
        (("devices",), {"errors"}),
        (("report",), {"report", "errors", "metrics", "progress", "published", "store", "tables"}),
    ],
)
def test_a_room_at_the_bottom_knows_only_what_is_below_it(rooms, allowed):
    for name in modules_in(*rooms):
        assert rooms_that(name) <= allowed, name


@pytest.mark.parametrize(
    ("rooms", "never"),
    [
        (("methods",), {"metrics", "work", "stages", "report", "store", "experiment", "scenario", "pipeline", "cli"}),
        (
            ("models", "training", "prediction", "audit"),
            {"store", "experiment", "scenario", "work", "stages", "pipeline"},
        ),
        (("scoring",), {"methods", "models", "store", "scenario", "work", "stages", "report", "pipeline"}),
        (("work",), {"stages", "report", "pipeline", "cli"}),
        (("stages",), {"report", "pipeline", "cli"}),
        (("plan", "scenario", "collect"), {"stages", "report", "pipeline", "cli"}),
    ],
)
def test_a_room_never_reaches_up_or_across(rooms, never):
    for name in modules_in(*rooms):
        assert not rooms_that(name) & never, name


def test_modules_load_one_after_the_other_without_a_circle():
    graph = {
        name: {module for module in imports(name, on_load=True) if module in MODULES and module != name}
        for name in MODULES
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(MODULES)


def test_only_the_pipeline_and_the_command_line_start_stages():
    assert {name for name in MODULES if "stages" in rooms_that(name) and room(name) != "stages"} <= {
        "raybench.pipeline.run",
        "raybench.pipeline.stages",
        "raybench.commands.smoke",  # many runs of the pipeline, on one Ray
        "raybench.cli",
    }


def test_the_pipeline_loads_without_ray():
    code = "import sys, raybench.pipeline.run, raybench.pipeline.collect; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_help_waits_for_no_heavy_import():
    code = (
        "import sys\nsys.argv = ['raybench', '--help']\nfrom raybench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'ray', 'numpy', 'pandas', 'sklearn', 'pyarrow'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "run" in done.stdout
    assert done.stderr == "[]\n"


def test_unlearning_on_its_own_needs_neither_ray_nor_an_experiment():
    heavy = {"ray", "optuna", "tensorboard", "raybench.config.schema"}
    code = f"import sys, raybench; raybench.unlearn; print({heavy} & set(sys.modules) or 'neither')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "neither\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_named_for_what_it_holds_and_is_readable_in_one_sitting(path):
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert ast.get_docstring(TREES[next(name for name, file in MODULES.items() if file == path)]), "no docstring"


def calls(*names):
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                yield name, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def test_nothing_that_is_loaded_can_run_code():
    loads = list(calls("torch.load"))
    assert len(loads) >= 2
    assert all(keywords.get("weights_only") == "True" for _, keywords in loads)
    assert all(keywords.get("allow_pickle", "False") == "False" for _, keywords in calls("np.load", "numpy.load"))
    assert (
        list(calls("yaml.unsafe_load", "yaml.full_load", "eval", "exec", "joblib.load", "pickle.load", "pickle.loads"))
        == []
    )
    assert {name for name in MODULES if "pickle" in imports(name)} <= {"raybench.data.files.safe_pickle"}


def test_no_exception_is_swallowed_and_no_debugger_is_left():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{name}:{node.lineno}: a bare except"
                assert [ast.unparse(line) for line in node.body] != ["pass"], f"{name}:{node.lineno}: swallowed"
    assert {name for name, _ in calls("breakpoint", "pdb.set_trace")} == set()
