"""The rules of docs/architecture.md that a script can check: layers, cycles, file sizes, safe loading, quick start."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import raybench

ROOT = Path(raybench.__file__).parent
MODULES = {
    ".".join(("raybench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

# from the bottom to the top: a package imports only packages of lower lines
LAYERS = [
    {"activity", "console", "errors", "limits"},
    {"details", "registry", "fingerprints", "storage", "progress", "metrics"},
    {"data", "event_stream", "models", "paper_tables"},
    {"engine"},
    {"methods", "scoring", "example"},
    {"config", "report"},
    {"scenario", "docgen"},
    {"jobs", "evidence"},
    {"distributed"},
    {"pipeline"},
    {"api"},
    {"commands"},
    {"cli"},
    {"supervisor"},
    {"__main__"},
]
RAY = {"distributed"}


def imports(name):
    """Return all modules that a module imports, in full names: at the top, in functions, under TYPE_CHECKING."""
    modules = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {full if full in MODULES else node.module for full in names}
    return modules


IMPORTS = {name: imports(name) for name in MODULES}


def package(module):
    """Return the package or top-level module: `data` of raybench.data.splits, empty for raybench itself."""
    return module.split(".")[1] if "." in module else ""


def layer(name):
    return next(number for number, names in enumerate(LAYERS) if name in names)


def test_packages_import_only_lower_layers():
    wrong = [
        f"{name} imports {other}"
        for name, modules in IMPORTS.items()
        for other in modules
        if other.split(".")[0] == "raybench" and package(other) not in ("", package(name))
        if package(name) and layer(package(other)) >= layer(package(name))
    ]
    assert wrong == []


def test_every_package_has_a_layer():
    assert {package(name) for name in MODULES} - {""} == set().union(*LAYERS)


def test_there_is_no_import_cycle_even_inside_functions():
    graph = {name: {m for m in modules if m in MODULES and m != name} for name, modules in IMPORTS.items()}
    # the package's lazy exports name modules that import nothing of `raybench` but its version
    graph["raybench"] = set()
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(MODULES)


def test_only_the_distributed_package_imports_ray():
    users = {package(name) for name, modules in IMPORTS.items() if any(m.split(".")[0] == "ray" for m in modules)}
    assert users == RAY


def test_metrics_import_no_other_package_of_raybench():
    for name in MODULES:
        if package(name) == "metrics":
            assert {package(m) for m in IMPORTS[name] if m.split(".")[0] == "raybench"} <= {"metrics"}, name


def test_no_private_module_of_ray_is_imported():
    private = [m for modules in IMPORTS.values() for m in modules if m.startswith("ray.") and "._" in m]
    assert private == []


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_the_pipeline_loads_without_ray():
    code = "import sys, raybench.pipeline.run, raybench.commands.check; print('ray' in sys.modules)"
    assert run_python(code).stdout == "False\n"


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['raybench', '--help']\nfrom raybench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'ray', 'numpy', 'pandas', 'sklearn', 'pyarrow'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = run_python(code)
    assert "run" in done.stdout
    assert done.stderr == "[]\n"


def test_files_are_readable_in_one_sitting_and_named_for_what_they_hold():
    for name, path in MODULES.items():
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "tools"}, path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
        assert ast.get_docstring(TREES[name]), f"{path} has no docstring"


def test_a_folder_of_plug_ins_holds_only_plug_ins():
    """In methods/, metrics/ and data/formats/ every file defines one; machinery is in packages of its own."""
    decorators = {
        "methods": "method",
        "metrics": "metric",
        "data/formats": "dataset",
        "data/forget_rules": "forget_rule",
    }
    for folder, decorator in decorators.items():
        for path in (ROOT / folder).glob("*.py"):
            if path.name != "__init__.py":
                assert f"\n@{decorator}(" in path.read_text(encoding="utf-8"), f"{path} defines no {decorator}"


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
    unsafe = ("yaml.unsafe_load", "yaml.full_load", "eval", "exec", "joblib.load", "pickle.load", "pickle.loads")
    assert list(calls(*unsafe)) == []
    assert {name for name, modules in IMPORTS.items() if "pickle" in modules} <= {"raybench.data.files.safe_pickle"}


def test_no_exception_is_swallowed_and_no_debugger_is_left():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{name}:{node.lineno}: a bare except"
                assert [ast.unparse(line) for line in node.body] != ["pass"], f"{name}:{node.lineno}: swallowed"
    assert {name for name, _ in calls("breakpoint", "pdb.set_trace")} == set()
