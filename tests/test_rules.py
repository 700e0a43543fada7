"""The rules of the code base that no linter knows: who imports whom, how long a module is, who writes a state."""

import ast
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("hospintel_core", "client_agent", "hospintel_site", "apps")
LONGEST = 400
FORBIDDEN = ("pickle", "joblib", "load_model", "allow_pickle=True", "eval(")
WEB_FRAMEWORKS = ("django", "rest_framework", "channels", "celery", "guardian")

# Package -> what it must not import. One way: core <- agent; core <- federation <- finetune; accounts, audit <- both.
APART = {
    "hospintel_core": (*WEB_FRAMEWORKS, "apps", "hospintel_site", "client_agent"),
    "client_agent": (*WEB_FRAMEWORKS, "apps", "hospintel_site"),
    "apps.audit": ("apps.accounts", "apps.federation", "apps.finetune", "apps.analyse", "client_agent"),
    "apps.accounts": ("apps.federation", "apps.finetune", "apps.analyse", "client_agent"),
    "apps.federation": ("apps.finetune", "apps.analyse", "client_agent"),
    "apps.analyse": ("apps.finetune", "client_agent"),
    "apps.finetune": ("apps.analyse", "client_agent"),
}
# Inside an app, from the bottom up; what is not named here is the top (views, api, tasks, consumers, commands).
LAYERS = ("states", "models", "pipeline")


def sources(*folders: str) -> list[Path]:
    """The Python files under these folders of the checkout, migrations aside."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


def module_of(path: Path) -> str:
    """A file's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST) -> Iterator[str]:
    """All dotted names that a module imports, anywhere in it; `from a import b` counts as a and as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer_of(name: str) -> int:
    """How high in its app a module stands."""
    place = name.split(".")[2] if name.count(".") >= 2 else ""
    return LAYERS.index(place) if place in LAYERS else len(LAYERS)


def wrong_imports(module: str, tree: ast.AST) -> list[str]:
    """What a module imports although the direction of imports forbids it."""
    names = set(imports_of(tree))
    wrong = [
        name
        for package, apart in APART.items()
        if within(module, package)
        for name in names
        if any(within(name, other) for other in apart)
    ]
    app = ".".join(module.split(".")[:2])
    if module.startswith("apps.") and module.count(".") >= 2:
        wrong += [name for name in names if within(name, app) and name != app and layer_of(name) > layer_of(module)]
    return sorted(wrong)


def written_states(tree: ast.AST) -> list[int]:
    """The lines on which a state is written: by assignment, by setattr, or by an UPDATE."""
    lines = []
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        flat = [leaf for target in targets for leaf in ast.walk(target)]
        if any(isinstance(leaf, ast.Attribute) and leaf.attr == "state" for leaf in flat):
            lines.append(node.lineno)
        if isinstance(node, ast.Call) and _call_writes_state(node):
            lines.append(node.lineno)
    return lines


def _call_writes_state(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = {leaf.value for leaf in ast.walk(call) if isinstance(leaf, ast.Constant)}
    if name == "update":
        return any(word.arg == "state" or (word.arg is None and "state" in texts) for word in call.keywords)
    return name in {"setattr", "bulk_update", "save"} and "state" in texts


@pytest.mark.parametrize("path", sources(*PRODUCT), ids=module_of)
def test_imports_go_one_way(path: Path):
    assert wrong_imports(module_of(path), ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("hospintel_core.weights", "import django.db"),
        ("hospintel_core.weights", "def f():\n    from apps.audit import api"),
        ("client_agent.poll", "from django.conf import settings"),
        ("client_agent.poll", "import hospintel_site"),
        ("apps.audit.api", "from apps.federation.models import Round"),
        ("apps.accounts.views.people", "from apps import federation"),
        ("apps.federation.api.task", "import apps.finetune.models"),
        ("apps.federation.pipeline.inspect", "from apps.federation.tasks import enqueue"),
        ("apps.federation.pipeline.inspect", "from apps.federation import tasks"),
        ("apps.federation.models.round", "from apps.federation.pipeline import keys"),
        ("apps.federation.states", "from apps.federation.models import Round"),
    ],
)
def test_a_wrong_import_is_found(module: str, code: str):
    assert wrong_imports(module, ast.parse(code))


def test_the_core_and_the_agent_load_no_django_and_no_tensorflow(tmp_path: Path):
    """Not even by way of something else: all their modules are imported in a process of their own."""
    names = [
        info.name
        for package in ("hospintel_core", "client_agent")
        for info in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if not info.name.endswith("__main__")
    ]
    assert len(names) > 20
    heavy = ("django", "rest_framework", "celery", "tensorflow", "keras")
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(sorted(name for name in sys.modules if name in {heavy!r}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_no_module_has_more_than_four_hundred_lines():
    lengths = {module_of(path): len(path.read_text().splitlines()) for path in sources(*PRODUCT, "tests", "benchmarks")}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("path", sources("hospintel_site", "apps"), ids=module_of)
def test_every_state_is_written_by_advance(path: Path):
    if module_of(path) != "apps.audit.api":
        assert written_states(ast.parse(path.read_text())) == []


def test_the_one_writer_of_states_is_where_it_is_said_to_be():
    assert "_base_manager.filter(pk=obj.pk, state=origin).update(" in (ROOT / "apps/audit/api.py").read_text()


@pytest.mark.parametrize(
    "code",
    [
        "round_.state = 'FAILED'",
        "a, round_.state = 1, 2",
        "round_.state += 'X'",
        "Round.objects.filter(pk=1).update(state='FAILED')",
        "Round.objects.update(**{'state': 'FAILED'})",
        "Round.objects.bulk_update(rows, ['state'])",
        "row.save(update_fields=['state'])",
        "setattr(row, 'state', 'FAILED')",
    ],
)
def test_a_state_that_is_written_by_something_else_is_found(code: str):
    assert written_states(ast.parse(code)) == [1]


@pytest.mark.parametrize(
    "code",
    [
        "Round.objects.create(state='COLLECTING')",
        "Round.objects.filter(state='HELD').update(reason='x')",
        "x = r.state",
    ],
)
def test_reading_a_state_and_creating_a_row_with_its_first_one_is_fine(code: str):
    assert written_states(ast.parse(code)) == []


def test_no_row_is_locked_but_by_its_update():
    """Steps claim a row by a conditional UPDATE: that works on SQLite too, and nobody waits for a lock."""
    files = [*sources(*PRODUCT), ROOT / "manage.py"]
    assert [module_of(path) for path in files if "select_for_update" in path.read_text()] == []


def test_no_word_of_the_object_formats_occurs_in_the_product():
    files = [*sources(*PRODUCT), ROOT / "manage.py"]
    # The call by which people hand a model in has one of the words inside its name.
    texts = {module_of(path): path.read_text().replace("upload_model", "") for path in files}
    assert [f"{name}: {word}" for name, text in texts.items() for word in FORBIDDEN if word in text] == []
    assert len(files) > 100


def test_each_decision_has_a_number_of_its_own_and_says_it():
    numbers = []
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        number = path.name.partition("-")[0]
        numbers.append(number)
        lines = path.read_text().splitlines()
        assert lines[0].split()[1] == number, path.name
        assert len(lines) <= 40, path.name
    assert numbers == [f"{place:04}" for place in range(1, len(numbers) + 1)]


def test_no_line_of_a_page_ends_between_a_number_and_its_per_cent_sign():
    shown = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "static" / "js").rglob("*.js")]
    breaks = re.compile(r"(\d|\)\}|\}\}) %(?![}a-z(\d ])")
    found = {str(path): breaks.findall(path.read_text(encoding="utf-8")) for path in shown}
    assert {path for path, places in found.items() if places} == set()
