"""Brings files of a prefix into a working folder, and puts into the store what was written there.

The store is the truth: what it does not have does not count. So a run that goes on removes what an earlier writer
left here without putting it. Every put names the version that it replaces, so that a writer who was away for too long
cannot write over what its successor has put.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.object_store.address import origin_of
from pipeline.object_store.faults import ConflictError, DamagedObjectError
from pipeline.object_store.index import Entry, Index, Stamp, arrival_here, stamp_of
from pipeline.object_store.layout import (
    LEASE,
    OF_A_RUN,
    SMALL,
    files_to_put,
    folders_of,
    other_files,
    place_of,
    prefixes_of,
    single_keys,
)
from pipeline.object_store.locks import Found
from pipeline.object_store.manifest import checkpoint_of, is_checkpoint, is_unfinished, manifest_of, written_digest
from pipeline.object_store.objects import ANY, PROBE, Objects, open_objects, sha256_of

log = logging.getLogger(__name__)
_AT_ONCE = 16
_FEW_RUNS = 8
_RUN_LOG = "run.log"
_OLD_PROBE_SECONDS = 3600.0
Guard = Callable[[], None]
"""Raises where this process may not write any more."""


class Mirror:
    """A working folder and the prefix that it is bound to.

    Args:
        root: the working folder.
        objects: below the prefix.
    """

    def __init__(self, root: Path, objects: Objects) -> None:
        self.root, self.objects = root, objects
        self._index = Index(root)

    def pull(
        self,
        kinds: tuple[str, ...] = SMALL,
        *,
        run_ids: Iterable[str] | None = None,
        leave_out: frozenset[str] = frozenset(),
        discard: bool = False,
    ) -> None:
        """Bring what has changed in the store, and remove here what was removed there.

        Args:
            kinds: of files.
            run_ids: only of these runs; None for all.
            leave_out: runs whose files here are newer than in the store.
            discard: remove files of `run_ids` that were written here and are not in the store.
        """
        wanted = None if run_ids is None else frozenset(run_ids)

        def is_wanted(key: str) -> bool:
            place = place_of(key)
            if place is None or place.kind not in kinds:
                return False
            return place.run_id not in leave_out and (wanted is None or place.run_id in wanted)

        # Under the lock from the first look at the store on: a later look may not be overtaken by an earlier one.
        with self._index.changed() as entries:
            listed = self._list(kinds, wanted)
            there = {found.key: found for found in listed if is_wanted(found.key)}
            stale = [found for found in there.values() if self._is_stale(found, entries, discard)]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for key, entry in pool.map(self._bring, stale):
                    entries.pop(key, None)
                    if entry is not None:
                        entries[key] = entry
            self._remove_absent(entries, there, is_wanted)
            if discard and wanted is not None:
                self._discard(wanted, kinds, there)
                self.objects.delete(_old_probes(listed))

    def _list(self, kinds: tuple[str, ...], run_ids: frozenset[str] | None) -> list[Found]:
        if run_ids is None or len(run_ids) > _FEW_RUNS:
            return [found for folder in prefixes_of(kinds) for found in self.objects.below(folder)]
        folders = [folder for run_id in run_ids for folder in folders_of(run_id, kinds)]
        found = [each for folder in folders for each in self.objects.below(folder)]
        heads = [self.objects.head(key) for run_id in run_ids for key in single_keys(run_id, kinds)]
        return [*found, *(each for each in heads if each is not None)]

    def _is_stale(self, found: Found, entries: dict[str, Entry], discard: bool) -> bool:
        """Whether an object is to be brought: its version is another, or the file here is not the one that it was."""
        entry, stamp = entries.get(found.key), stamp_of(self.root / found.key)
        if found.key.endswith(f"/{LEASE}"):
            return True  # it is removed here when it was released
        if entry is not None and entry.e_tag == found.e_tag and entry.stamp == stamp:
            return False
        is_ours = stamp is not None and (entry is None or entry.stamp != stamp)
        return discard or not is_ours or found.key.endswith(f"/{_RUN_LOG}")

    def _bring(self, found: Found) -> tuple[str, Entry | None]:
        path = self.root / found.key
        if found.key.endswith(f"/{LEASE}"):
            self._bring_lease(found, path)
            return found.key, None
        try:
            brought = self.objects.download(found.key, path)
        except DamagedObjectError as error:
            log.warning("%s. It counts as missing", error.message)
            path.unlink(missing_ok=True)
            return found.key, None
        stamp = stamp_of(path)
        if brought is None or stamp is None:
            return found.key, None
        verified = is_checkpoint(found.key) and brought.sha256 is not None
        arrival = arrival_here(str(brought.sha256)) if verified else None
        return found.key, Entry(e_tag=brought.e_tag, stamp=stamp, arrival=arrival)

    def _bring_lease(self, found: Found, path: Path) -> None:
        """Write a driver's lease as the heartbeat file that it is in a plain folder, with the time of the last beat."""
        answer = self.objects.get(found.key)
        if answer is None or is_released(answer[0]):
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer[0])
        os.utime(path, (found.modified, found.modified))

    def _remove_absent(
        self, entries: dict[str, Entry], there: dict[str, Found], is_wanted: Callable[[str], bool]
    ) -> None:
        for key in [key for key in entries if key not in there and is_wanted(key)]:
            if stamp_of(self.root / key) == entries[key].stamp:
                (self.root / key).unlink(missing_ok=True)
            del entries[key]

    def _discard(self, run_ids: frozenset[str], kinds: tuple[str, ...], there: dict[str, Found]) -> None:
        for run_id in run_ids:
            for key in files_to_put(self.root, run_id):
                place = place_of(key)
                if key not in there and place is not None and place.kind in kinds:
                    (self.root / key).unlink(missing_ok=True)

    def has_changes(self, run_id: str) -> bool:
        """Return whether a run has files here that were written or removed since they were put; asks no store."""
        entries = self._index.read()
        return bool(self._to_put(run_id, entries) or self._removed(run_id, entries))

    def push(self, run_id: str, guard: Guard) -> None:
        """Put what was written of a run, then remove what was removed.

        Args:
            run_id: of the run.
            guard: called before the first write, a checkpoint and the record, and where a condition does not hold.

        Raises:
            StoreError: where the store is away for too long or refuses; what is not put is put by the next call.
        """
        entries = self._index.read()
        changed = self._to_put(run_id, entries)
        removed = self._removed(run_id, entries)
        if not changed and not removed:
            return
        guard()
        put_with_checkpoint: set[str] = set()
        skips_checkpoints = False
        for key in changed:
            if key in put_with_checkpoint:
                continue
            # A store without conditions refuses no writer that was replaced: then each write asks.
            if key.startswith("records/") or is_checkpoint(key) or not self.objects.has_conditions:
                guard()
            if is_checkpoint(key):
                put_with_checkpoint.add(manifest_of(key))
                skips_checkpoints |= not self._put_checkpoint(key, entries, guard)
            else:
                self._put(key, _version_of(entries.get(key)), guard)
        if skips_checkpoints:  # the store may have none that is newer: those it has stay until the next call
            removed = [key for key in removed if not is_checkpoint(key) and checkpoint_of(key) is None]
        if removed and not self.objects.has_conditions:
            guard()
        for key in removed:
            self.objects.delete([*_named_by(key), key])
        with self._index.changed() as now:
            for key in removed:
                now.pop(key, None)

    def push_file(self, key: str, guard: Guard) -> None:
        """Put one file, if it is there: of a worker that is not rank zero."""
        if (self.root / key).exists():
            self._put(key, _version_of(self._index.read().get(key)), guard)

    def push_others(self) -> None:
        """Put costs and marks, which are written without a lock: the last writer's count."""
        entries = self._index.read()
        for key in other_files(self.root):
            if self._is_changed(key, entries):
                self._put(key, ANY, lambda: None)

    def _to_put(self, run_id: str, entries: dict[str, Entry]) -> list[str]:
        """Return what has changed of a run, in order. A checkpoint is put when its manifest has its digest."""
        changed = [key for key in files_to_put(self.root, run_id) if self._is_changed(key, entries)]
        return [key for key in changed if not is_unfinished(self.root / key)]

    def _is_changed(self, key: str, entries: dict[str, Entry]) -> bool:
        entry = entries.get(key)
        return entry is None or entry.stamp != stamp_of(self.root / key)

    def _removed(self, run_id: str, entries: dict[str, Entry]) -> list[str]:
        gone = [key for key in entries if not (self.root / key).exists()]
        places = {key: place_of(key) for key in gone}
        # The record first: without it the run counts as not done, and nobody reads the rest.
        return sorted((key for key, place in places.items() if place and place.run_id == run_id), key=_record_first)

    def _put_checkpoint(self, key: str, entries: dict[str, Entry], guard: Guard) -> bool:
        """Put a checkpoint and then its manifest, which is read before: both may be pruned while the first is sent.

        Returns False where they were pruned before.
        """
        manifest_key = manifest_of(key)
        manifest = self.root / manifest_key
        stamp = stamp_of(manifest)
        try:
            content = manifest.read_bytes()
        except FileNotFoundError:
            return False
        if stamp is None or not self._put(key, _version_of(entries.get(key)), guard):
            return False
        e_tag = self._put_over(manifest_key, content, _version_of(entries.get(manifest_key)), guard)
        self._note(manifest_key, e_tag, stamp)
        return True

    def _put(self, key: str, replaces: str | None, guard: Guard) -> bool:
        """Put a file; return whether it was there: it may have been pruned since it was listed."""
        path = self.root / key
        stamp = stamp_of(path)
        if stamp is None:
            return False
        try:
            # Read once: a log or a progress file may change while it is sent.
            content = path if path.name.endswith((".pt", ".safetensors")) else path.read_bytes()
            e_tag = self._put_over(key, content, replaces, guard)
        except FileNotFoundError:
            return False
        self._note(key, e_tag, stamp)
        return True

    def _note(self, key: str, e_tag: str, stamp: Stamp) -> None:
        with self._index.changed() as entries:
            entries[key] = Entry(e_tag=e_tag, stamp=stamp)

    def _put_over(self, key: str, content: bytes | Path, replaces: str | None, guard: Guard) -> str:
        """Put a file; where another version is there, go on only if this process may still write.

        The other version may be our own, of a put whose answer was lost or of a writer that was killed before it
        could note it.
        """
        digest = written_digest(content) if isinstance(content, Path) else None
        if digest is None:
            digest = sha256_of(content)
        while True:
            try:
                return self.objects.put(key, content, replaces=replaces, digest=digest)
            except ConflictError:
                found = self.objects.head(key)
                if found is not None and self.objects.digest(key) == digest:
                    return found.e_tag
                guard()
                replaces = None if found is None else found.e_tag

    def remove_run(self, run_id: str) -> None:
        """Remove all objects of a run but its lease, the record first."""
        found = [each.key for each in self._list(OF_A_RUN, frozenset({run_id}))]
        keys = sorted((key for key in found if not key.endswith(f"/{LEASE}")), key=_record_first)
        self.objects.delete(keys)
        with self._index.changed() as entries:
            for key in keys:
                entries.pop(key, None)


def mirror_of(root: Path) -> Mirror | None:
    """Return the mirror of a working folder; None for a plain folder.

    Raises:
        StoreError: where the store cannot be used.
    """
    url = origin_of(root)
    return None if url is None else Mirror(root, open_objects(url))


def is_released(content: bytes) -> bool:
    """Return whether the lease of a driver was given up by its holder."""
    try:
        values = json.loads(content)
    except ValueError:
        return False
    return isinstance(values, dict) and values.get("released") is True


def _old_probes(listed: list[Found]) -> list[str]:
    """Return the probes that killed drivers left; newer ones may be of a driver that waits for this run."""
    now = max((found.modified for found in listed), default=0.0)
    return [found.key for found in listed if f"/{PROBE}" in found.key and now - found.modified > _OLD_PROBE_SECONDS]


def _record_first(key: str) -> tuple[bool, str]:
    return not key.startswith("records/"), key


def _version_of(entry: Entry | None) -> str | None:
    return None if entry is None else entry.e_tag


def _named_by(key: str) -> list[str]:
    """Return the checkpoint that a manifest names: a driver brings only manifests, and removes both."""
    checkpoint = checkpoint_of(key)
    return [] if checkpoint is None else [checkpoint]
