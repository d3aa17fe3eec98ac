"""An extension of griffe: the comment after a field is its description, and a schema is shown with its comments.

The command line reads the same comments as the help of an option.
"""

from __future__ import annotations

import io
import textwrap
import tokenize
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Adds the commented fields of a class to its docstring, and gives the schemas of a module one."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called once for each class, after its fields were read."""
        fields = [each for each in cls.members.values() if each.is_attribute and each.docstring is None]
        described = {each.name: comment for each in fields if (comment := comment_after("\n".join(each.lines)))}
        if described and cls.docstring is not None and "Attributes:\n" not in cls.docstring.value:
            lines = [f"    {name}: {comment}" for name, comment in described.items()]
            cls.docstring.value = "\n".join([cls.docstring.value.rstrip(), "", "Attributes:", *lines])

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called once for each attribute that was read."""
        of_module = attr.parent is not None and attr.parent.is_module
        if of_module and attr.docstring is None and attr.name.endswith("_SCHEMA"):
            attr.docstring = griffe.Docstring(f"```python\n{attr.source}\n```", parent=attr, lineno=attr.lineno)


def comment_after(source: str) -> str:
    """Return the comment behind a statement, "" where there is none."""
    tokens = tokenize.generate_tokens(io.StringIO(textwrap.dedent(source)).readline)
    return " ".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)
