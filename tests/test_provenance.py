import ast
import textwrap

import pytest

from withstand import provenance
from withstand.provenance import code_digest

CODE = {
    "mine": '''
        """A module."""
        import nets.deep
        import numpy as np
        from helpers import scale, unused
        from stars import *

        try:
            import torch
        except ImportError:
            def guarded(x):
                return x
        else:
            def guarded(x):
                return x + 1

        FACTOR = 2

        def result(x):
            """Doc."""
            return scale(np.abs(x)) * FACTOR + guarded(starred(nets.deep.layer(x)))

        def neighbour(x):
            return x
        ''',
    "nets/__init__": """
        from .deep import layer as reexported
        """,
    "nets/deep": """
        from . import wide

        def layer(x):
            return wide.width(x)
        """,
    "nets/wide": """
        def width(x):
            return x + 7
        """,
    "stars": """
        def starred(x):
            return x - 3
        """,
    "helpers": """
        def scale(x):
            return x + offset()

        def offset():
            return 1

        def unused():
            return 0
        """,
}


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """A function that writes the modules, changed as told, and digests mine:result."""
    monkeypatch.chdir(tmp_path)

    def run(module="mine", old="", new=""):
        for name, indented in CODE.items():
            text = textwrap.dedent(indented)
            assert name != module or old in text
            (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.py").write_text(text.replace(old, new) if name == module else text)
        for cached in (provenance.code_digest, provenance._module, provenance._source_file):
            cached.cache_clear()
        return code_digest("mine:result")

    yield run
    for cached in (provenance.code_digest, provenance._module, provenance._source_file):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("mine", "FACTOR = 2", "FACTOR = 2  # two"),
        ("mine", '"""Doc."""', '"""Other words."""'),
        ("mine", '"""Doc."""', ""),
        ("mine", "scale(np.abs(x)) * FACTOR +", "scale(\n        np.abs(x)\n    ) * FACTOR +"),
        ("mine", "def neighbour(x):\n    return x", "def neighbour(x):\n    return x + 1"),
        ("mine", "import numpy as np\n", "import os\nimport numpy as np\n"),
        ("helpers", "return 0", "return 5"),
    ],
)
def test_what_does_not_shape_the_result_does_not_count(digest, module, old, new):
    assert digest() == digest(module, old, new)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("mine", "FACTOR = 2", "FACTOR = 3"),
        ("mine", "* FACTOR", "/ FACTOR"),
        ("mine", "np.abs", "np.sqrt"),
        ("helpers", "return 1", "return 2"),
        ("mine", "return x + 1", "return x + 2"),
        ("nets/wide", "x + 7", "x + 8"),
        ("nets/deep", "wide.width(x)", "wide.width(x) + 1"),
        ("stars", "x - 3", "x - 4"),
        ("helpers", "return x + offset()", "return x"),
    ],
)
def test_what_shapes_the_result_counts(digest, module, old, new):
    assert digest() != digest(module, old, new)


def test_an_unknown_function_is_an_error(digest):
    digest()
    with pytest.raises(LookupError, match="defines no other"):
        code_digest("mine:other")
    with pytest.raises(LookupError, match="no Python source"):
        code_digest("nowhere:other")


def test_a_reexported_function_is_found(digest):
    digest()
    assert code_digest("nets:reexported")


def test_the_normal_form_is_free_of_what_python_versions_add():
    """Python 3.12 added type_params, 3.8 type_comment and kind: empty ones must not show."""
    tree = ast.parse("def f(x, *, y=u'a') -> None:\n    return [x, y]").body[0]
    form = provenance._normal_form(tree)
    assert not any(name in form for name in ("type_params", "type_comment", "kind", "ctx", "lineno"))
    assert form == (
        "FunctionDef(name='f',args=arguments(args=[arg(arg='x')],kwonlyargs=[arg(arg='y')],"
        "kw_defaults=[Constant(value='a')]),body=[Return(value=List(elts=[Name(id='x'),Name(id='y')]))],"
        "returns=Constant())"
    )


def test_a_corruption_does_not_count_for_its_neighbour():
    module = "withstand.corruptions.digital"
    assert code_digest(f"{module}:contrast") != code_digest(f"{module}:jpeg_compression")
    closure = {}
    provenance._collect(module, "contrast", closure)
    assert (module, "_through_jpeg") not in closure
    assert ("withstand.corruptions.pixels", "to_bytes") in closure


def test_helpers_that_shape_no_result_are_left_out():
    closure = {}
    provenance._collect("withstand.steps.predict", "predict", closure)
    modules = {module for module, _ in closure}
    assert "withstand.inference" in modules
    assert "withstand.models" in modules
    assert modules.isdisjoint({"withstand.progress", "withstand.files", "withstand.provenance", "withstand.prefetch"})
