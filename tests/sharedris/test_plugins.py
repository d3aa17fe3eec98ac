"""Plugins are loaded once, checked as a whole, shipped by content, and never imported by data."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sharedris import plugins, registry
from sharedris.errors import InputError
from sharedris.plugins import (
    MOST_BYTES,
    REGISTRIES,
    describe_plugins,
    load_plugin,
    load_plugins,
    load_shipped,
    loaded_plugins,
    plugin_hashes,
)

FUSION = """
from torch import nn

class Mixer(nn.Module):
    def __init__(self, width, config):
        super().__init__()
        self.mix = nn.Linear(width, width)
    def forward(self, tokens_BSW, visible_B11S, visual_tokens):
        return tokens_BSW + self.mix(tokens_BSW)

FUSIONS = {"mixer": Mixer}
"""


@pytest.fixture(autouse=True)
def _fresh(fresh_plugins: None) -> None:
    """Each test starts without plugins."""


def write(path: Path, text: str) -> str:
    """Write a file and return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_every_registry_exists_and_is_a_dict() -> None:
    for kind in REGISTRIES:
        assert isinstance(plugins._registry(kind), dict)


def test_a_file_is_loaded_once_by_name_and_content(tmp_path: Path) -> None:
    source = write(tmp_path / "mine.py", FUSION)
    plugin = load_plugin(source)
    assert load_plugin(source) is plugin
    assert loaded_plugins() == (plugin,)
    assert plugin.name == "mine"
    assert len(plugin.sha256) == 64
    assert registry.FUSIONS["mixer"].__name__ == "Mixer"  # type: ignore[union-attr]
    assert "mine" not in sys.modules, "a file hides no installed module of its name"
    assert not list(tmp_path.glob("__pycache__"))


def test_the_hash_follows_content_and_not_the_place(tmp_path: Path, fresh_plugins: None) -> None:
    first = load_plugin(write(tmp_path / "a" / "mine.py", "LOSSES = {'one': lambda logits, mask: logits.mean()}"))
    same = write(tmp_path / "b" / "mine.py", "LOSSES = {'one': lambda logits, mask: logits.mean()}")
    assert load_plugin(same) is first
    other = write(tmp_path / "c" / "mine.py", "LOSSES = {'two': lambda logits, mask: logits.mean()}")
    with pytest.raises(InputError, match=r"c/mine.py: .*a/mine.py is a plugin of the same name"):
        load_plugin(other)
    assert "two" not in registry.LOSSES


def test_a_package_and_an_installed_module_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pack" / "modules" / "mixer.py", FUSION)
    write(tmp_path / "pack" / "modules" / "__init__.py", "")
    write(tmp_path / "pack" / "__init__.py", "from .modules.mixer import FUSIONS")
    write(tmp_path / "pack" / "more.py", "LOSSES = {'one': lambda logits, mask: logits.mean()}")
    write(tmp_path / "pack" / "__pycache__" / "old.pyc", "")
    plugin = load_plugin(str(tmp_path / "pack"))
    assert [name for name, _ in plugin.files] == [
        "pack/__init__.py",
        "pack/modules/__init__.py",
        "pack/modules/mixer.py",
        "pack/more.py",
    ]
    assert "mixer" in registry.FUSIONS
    monkeypatch.syspath_prepend(tmp_path)
    assert load_plugin("pack.more").name == "pack.more"
    assert "one" in registry.LOSSES
    assert {*plugin_hashes(loaded_plugins())} == {"pack", "pack.more"}


def test_installed_entry_points_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "installed_one.py", FUSION)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint(name="any", value="installed_one", group=plugins.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == plugins.GROUP else [])
    load_plugins([])
    assert "mixer" in registry.FUSIONS


def test_a_worker_loads_what_came_with_the_job(tmp_path: Path, fresh_plugins: None) -> None:
    write(tmp_path / "pack" / "inner.py", FUSION)
    write(tmp_path / "pack" / "__init__.py", "from .inner import FUSIONS")
    plugin = load_plugin(str(tmp_path / "pack"))
    load_shipped([plugin])  # of this process: nothing to do
    plugins._loaded.clear()  # as in a worker, which does not see the driver's folder
    del registry.FUSIONS["mixer"]
    for name in [name for name in sys.modules if name.startswith("sharedris_plugin_")]:
        del sys.modules[name]
    (tmp_path / "pack" / "inner.py").unlink()
    load_shipped([plugin])
    assert loaded_plugins() == (plugin,)
    assert "mixer" in registry.FUSIONS


BAD = {
    "does not import": ("import nothing_of_this_name", r"bad.py, line 1: the plugin does not import: ModuleNotFound"),
    "raises": ("x = 1\n\ny = x / 0\n", r"bad.py, line 3: the plugin does not import: ZeroDivisionError"),
    "no Python": ("x = 1\nthis is no Python\n", r"bad.py, line 2: the plugin does not import: SyntaxError"),
    "exits": ("raise SystemExit(0)", r"bad.py, line 1: the plugin does not import: SystemExit"),
    "nothing": ("fusions = {}", r"bad.py holds none of FUSIONS, FPNS"),
    "no dict": ("FUSIONS = ['x']", r"bad.py: FUSIONS is a list, not a dict"),
    "ours": ("FUSIONS = {'self_attention': print}", r"FUSIONS has 'self_attention', which the project has already"),
    "a fusion named like an FPN": ("FUSIONS = {'cris': print}", r"FUSIONS has 'cris', which the project has already"),
    "an FPN named like a fusion": ("FPNS = {'bi_direction': print}", r"FPNS has 'bi_direction', which the project"),
    "no name": ("FUSIONS = {'../x': print}", r"bad.py: FUSIONS: '../x' must be letters"),
    "no builder": ("DECODERS = {'x': 3}", r"DECODERS\['x'\] is a int, not a class or a function"),
    "no encoder": ("ENCODERS = {'x': print}", r"ENCODERS\['x'\] is a builtin_function_or_method, not EncoderKind"),
    "no protocol": ("PROTOCOLS = {'x': len}", r"PROTOCOLS\['x'\] is a builtin_function_or_method, not Protocol"),
    "two names": (
        "from sweeps.spec import Sweep\nSWEEPS = {'x': Sweep(name='y', title='', tables={})}",
        r"SWEEPS\['x'\] is named 'y'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_plugin_is_one_line_and_adds_nothing(tmp_path: Path, case: str) -> None:
    text, words = BAD[case]
    before = {kind: dict(plugins._registry(kind)) for kind in REGISTRIES}
    with pytest.raises(InputError, match=words) as caught:
        load_plugin(write(tmp_path / "bad.py", text))
    assert "\n" not in str(caught.value)
    assert before == {kind: plugins._registry(kind) for kind in REGISTRIES}
    assert loaded_plugins() == ()


def test_one_bad_name_adds_none_of_the_good_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pwam"):
        load_plugin(write(tmp_path / "bad.py", "LOSSES = {'good': print}\nFPNS = {'fine': print, 'pwam': print}"))
    assert "good" not in registry.LOSSES
    assert "fine" not in registry.FPNS


def test_a_name_of_two_plugins_names_both_files(tmp_path: Path) -> None:
    load_plugin(write(tmp_path / "first.py", FUSION))
    with pytest.raises(InputError, match=r"second.py: FUSIONS has 'mixer', which .*first.py has already"):
        load_plugin(write(tmp_path / "second.py", FUSION + "# another file"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent.py", "--plugin absent.py does not exist"),
        ("no_module_of_this_name", "no such file and no such module"),
        ("a..b", "no such file and no such module"),
        ("sys", "no such file and no such module"),
    ],
)
def test_a_plugin_that_is_not_there_is_named(source: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_plugin(source)


def test_a_folder_without_init_and_a_large_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match="has no __init__.py"):
        load_plugin(str(tmp_path / "plain"))
    write(tmp_path / "plain" / "__init__.py", FUSION)
    with (tmp_path / "plain" / "weights.bin").open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="has more than 16 MiB of files"):
        load_plugin(str(tmp_path / "plain"))


def test_what_a_model_needs_is_told_by_name_and_hash(tmp_path: Path) -> None:
    plugin = load_plugin(write(tmp_path / "mine.py", FUSION))
    assert describe_plugins({"mine": plugin.sha256}) == ""
    assert describe_plugins({"other": "ab" * 32}) == "needs other (SHA-256 abababababab)"
    expected = f"had another mine (SHA-256 abababababab, here {plugin.sha256[:12]})"
    assert describe_plugins({"mine": "ab" * 32}) == expected
