"""A folder for Parquet files, on this machine or in an object store, in which a file is there as a whole or not at all.

On this machine a file is written aside, synced to the disk and then moved; whoever takes over from another one clears
what that had put aside (`clear`), so that somebody who was frozen before the move cannot make it any more. In an object
store a file appears when its upload completes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from app.archiving.draft import Aside, Draft, Staged, Upload
from app.archiving.layout import STAGING, Part, day_of, parse
from app.store.archive_positions import LostGroup, Taken

#: A file that says which archive it is.
MARK = "nextbest-archive"


class Folder:
    """An archive's folder. All of these raise OSError."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        self.local = isinstance(filesystem, fs.LocalFileSystem)
        self._made = 0

    @classmethod
    def at(cls, address: str) -> Folder:
        """A folder's path, or a URL that pyarrow knows (`file://`, `s3://`, `gs://`, …). Raises ValueError with what is
        wrong, never the address itself: it may hold a secret."""
        if "://" not in address:
            return cls(fs.LocalFileSystem(), str(Path(address).absolute()))
        try:
            return cls(*fs.FileSystem.from_uri(address))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise ValueError(
                "the archive's address cannot be used: write a folder's path, or `s3://bucket/folder`, `gs://…`, "
                "`file:///…`"
            ) from error

    def below(self, name: str) -> Folder:
        """One of its folders."""
        return Folder(self.filesystem, f"{self.root}/{name}")

    def stage(self, path: str, table: pa.Table, group: int) -> Staged:
        """Write a table aside."""
        draft = self.draft(path, table.schema, group)
        try:
            draft.add(table)
            return draft.finish()
        except BaseException:
            draft.drop()  # a disk that is full must not fill up with halves
            raise

    def draft(self, path: str, schema: pa.Schema, group: int) -> Draft:
        """Begin to write a file aside, table by table. Of an object store it is held in memory, compressed."""
        if not self.local:
            sink = pa.BufferOutputStream()
            return Draft(sink, schema, Upload(self.put, path, sink.getvalue))
        self._made += 1
        aside = Path(self.root, _staging(group), f"{os.getpid()}-{id(self):x}-{self._made}.tmp")
        aside.parent.mkdir(parents=True, exist_ok=True)
        return Draft(aside.open("wb"), schema, Aside(aside, Path(self.root, path)))

    def clear(self, group: int) -> None:
        """Delete what was put aside for a group: by somebody who died, or lost the lease."""
        if self.local:
            for left in Path(self.root, _staging(group)).glob("*.tmp"):
                left.unlink(missing_ok=True)

    def parts(self, below: str = "") -> list[Part]:
        """The files of the archive in one of its folders, those that do not count included."""
        selector = fs.FileSelector(f"{self.root}/{below}".rstrip("/"), recursive=True, allow_not_found=True)
        found = (parse(each.path[len(self.root) + 1 :]) for each in self.filesystem.get_file_info(selector))
        return [part for part in found if part is not None]

    def folders(self, below: str = "") -> list[str]:
        """The names of the folders in one."""
        selector = fs.FileSelector(f"{self.root}/{below}".rstrip("/"), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(each.base_name for each in infos if each.type == fs.FileType.Directory)

    def hour_folders(self, group: int) -> list[str]:
        """The folders of a group, an hour each, the earliest first."""
        days = [name for name in self.folders() if day_of(name) is not None]
        return [f"{day}/{hour}/group={group:02d}" for day in days for hour in self.folders(day)]

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is deleted."""
        if self.filesystem.get_file_info(self._whole(path)).type != fs.FileType.NotFound:
            self.filesystem.delete_file(self._whole(path))

    def delete_folder(self, path: str) -> None:
        if self.filesystem.get_file_info(self._whole(path)).type == fs.FileType.Directory:
            self.filesystem.delete_dir(self._whole(path))

    def table(self, path: str, **how: Any) -> pa.Table:
        """A file's rows; `how`: `columns` and `filters`, as pyarrow has them."""
        if how.get("filters") is None:  # a small file is read four times as fast so
            with self.filesystem.open_input_file(self._whole(path)) as source, pq.ParquetFile(source) as file:
                return file.read(how.get("columns"))
        return pq.read_table(self._whole(path), filesystem=self.filesystem, partitioning=None, **how)

    def tables(self, path: str) -> Iterator[pa.Table]:
        """A file's rows, row group by row group: one is in memory."""
        with self.filesystem.open_input_file(self._whole(path)) as source, pq.ParquetFile(source) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, use_threads=False)  # each thread would keep memory for itself

    def mark(self) -> str | None:
        """Which archive this folder holds; None: none that was begun."""
        if self.filesystem.get_file_info(self._whole(MARK)).type != fs.FileType.File:
            return None
        with self.filesystem.open_input_stream(self._whole(MARK)) as stream:
            return bytes(stream.read()).decode(errors="replace").strip()

    def move_into(self, name: str) -> None:
        """Move what lies here by days into one of its folders: archives once held events alone."""
        days = [day for day in self.folders() if day_of(day) is not None]
        for part in self.parts() if days else ():
            self.filesystem.create_dir(self._whole(f"{name}/{part.path}").rpartition("/")[0])
            self.filesystem.move(self._whole(part.path), self._whole(f"{name}/{part.path}"))
        for day in days:
            self.delete_folder(day)

    def set_mark(self, mark: str) -> None:
        self.put(MARK, pa.py_buffer(mark.encode() + b"\n"))

    def sizes(self) -> dict[Part, int]:
        """All files and their bytes, in one listing."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        infos = [each for each in self.filesystem.get_file_info(selector) if each.type == fs.FileType.File]
        parts = [(parse(each.path[len(self.root) + 1 :]), each.size or 0) for each in infos]
        return {part: size for part, size in parts if part is not None}

    def may_hold(self, path: str, column: str, value: str) -> bool:
        """False: a file's own statistics say that no row has this text in that column."""
        with self.filesystem.open_input_file(self._whole(path)) as source, pq.ParquetFile(source) as file:
            place, metadata = file.schema_arrow.get_field_index(column), file.metadata
            found = [metadata.row_group(number).column(place).statistics for number in range(metadata.num_row_groups)]
        return any(each is None or not each.has_min_max or each.min <= value <= each.max for each in found)

    def _whole(self, path: str) -> str:
        return f"{self.root}/{path}"

    def put(self, path: str, content: pa.Buffer) -> None:
        """Write a file in one go, where files appear when they are complete."""
        self.filesystem.create_dir(self._whole(path).rpartition("/")[0])
        with self.filesystem.open_output_stream(self._whole(path)) as stream:
            stream.write(content)


async def published(taken: Taken, staged: Staged) -> None:
    """Put a file in its place, if the group is still held. Raises LostGroup."""
    try:
        await taken.keep()
    except BaseException:
        staged.drop()
        raise
    try:
        await asyncio.to_thread(staged.publish)
    except FileNotFoundError as error:  # whoever took over cleared it away
        raise LostGroup from error


def _staging(group: int) -> str:
    return f"{STAGING}/group-{group:02d}"
