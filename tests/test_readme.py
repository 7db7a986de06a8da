"""README.md: its example prints what it says, its names exist, and what was measured is there."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import miest
from miest.estimators.auto import estimators
from miest.result import Flag

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "notebooks" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_prints_what_the_readme_says(readme):
    assert readme.section(TEXT, "output").strip() == f"```text\n{readme.example_output(TEXT)}```"


def test_the_example_is_short(readme):
    code = readme.DOCUMENTED.search(readme.section(TEXT, "example"))[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


WHOLE = re.compile(r"```python\n(import [^`]*)```\s+```text\n([^`]*)```")


@pytest.mark.parametrize("block", WHOLE.findall(TEXT), ids=["tables", "objectives", "weights", "layers"])
def test_examples_with_their_output_print_it(block, capsys):
    code, printed = block
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out == printed


def test_every_measured_section_was_filled(readme):
    for name in readme.SECTIONS:
        assert len(readme.section(TEXT, name).strip().splitlines()) >= 3, name
    assert set(re.findall(r"<!-- ([\w-]+):start -->", TEXT)) == {*readme.SECTIONS, "example"}


def test_the_tables_of_the_validation_hold_what_was_measured(readme):
    estimators = {"right": lambda x, y: 0.5, "far": lambda x, y: 3.0}
    found = miest.validate(estimators, miest.suite("traps")[:3], sizes=[20, 30], seeds=[0])
    text = readme.validation_tables(found.to_dict())
    assert text.startswith("3 tasks, 1 seeds, n = 20 and 30.")
    assert "| `right` | 20 | 3 | 0.011 | 0.011 | 0.011 |" in text
    far = next(line for line in text.splitlines() if "`far` | 30" in line)
    assert far.split(" | ")[3:6] == ["2.489"] * 3
    assert far.endswith("| 100% |  |")
    assert "| any | 0% | 0% |" in text


def test_only_the_named_section_is_rewritten(readme):
    text = "a\n<!-- ksg:start -->\nold \\1\n<!-- ksg:end -->\nb\n"
    assert readme.rewritten(text, "ksg", "new \\2") == "a\n<!-- ksg:start -->\nnew \\2\n<!-- ksg:end -->\nb\n"
    with pytest.raises(ValueError, match="no section 'other'"):
        readme.rewritten(text, "other", "new")


@pytest.mark.parametrize("name", miest.__all__)
def test_every_public_name_has_a_docstring_of_its_own(name):
    item = getattr(miest, name)
    inherited = [vars(base).get("__doc__") for base in getattr(item, "__mro__", ())[1:]]
    assert item.__doc__ is not None
    assert len(item.__doc__.strip()) > 20
    assert item.__doc__ not in inherited


def test_every_estimator_has_a_row_in_the_table(readme):
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and line.count("|") >= 4]
    for made in estimators().values():
        assert any(f"`{made.__name__}`" in row for row in rows), made.__name__


def test_every_flag_is_explained_and_no_other_is_named(readme):
    assert readme.section(TEXT, "flags").strip() == readme.flags()
    named = set(re.findall(r"`([A-Z][A-Z_]{3,})`", TEXT)) - {made.__name__ for made in estimators().values()}
    assert named == {flag.name for flag in Flag}


def test_what_it_links_to_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    assert (ROOT / "notebooks" / "layers.png").stat().st_size < 150_000


def test_the_make_targets_it_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_names_in_code_spans_exist():
    import miest.plotting

    for dotted in re.findall(r"`miest((?:\.\w+)+)", TEXT):
        item = miest
        for part in dotted.strip(".").split("."):
            item = getattr(item, part)
