"""A REFER root of its own to a test, with ways to break it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ReferRoot:
    """The smallest toy_unc in REFER layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refs_path = root / "toy" / "refs(unc).p"
        self.instances_path = root / "toy" / "instances.json"
        self.images = sorted((root / "images" / "train2014").glob("*.jpg"))

    def change_refs(self, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        refs = pickle.loads(self.refs_path.read_bytes())
        change(refs)
        self.refs_path.write_bytes(pickle.dumps(refs, protocol=2))

    def change_instances(self, change: Callable[[dict[str, Any]], Any]) -> None:
        instances = json.loads(self.instances_path.read_text())
        change(instances)
        self.instances_path.write_text(json.dumps(instances))

    def first_annotation(self, instances: dict[str, Any]) -> dict[str, Any]:
        """The annotation of the first ref."""
        wanted = pickle.loads(self.refs_path.read_bytes())[0]["ann_id"]
        return next(entry for entry in instances["annotations"] if entry["id"] == wanted)

    def first_image(self) -> Path:
        """The image file of the first ref."""
        image_id = pickle.loads(self.refs_path.read_bytes())[0]["image_id"]
        return self.root / "images" / "train2014" / f"TOY_train2014_{image_id:012d}.jpg"
