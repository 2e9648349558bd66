"""Which picture belongs to which question, where it came from, and its checksum: JSON lines beside a folder of files.

    folder/manifest.jsonl             one row per picture: image_id, url, sha256, bytes, mime, width, height, status, ...
    folder/pictures/<sha256>          the bytes, named by their checksum

Rows are appended as pictures come; the last row of a picture counts. A torn last line (the process was killed) is cut off,
so that its picture is pulled again. The checksum is pinned by the first pull: other bytes are refused from then on.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.llm.chat import Image
from tenfold.store import atomic
from tenfold.systems.deepeval.decoding import PictureError, Status, as_png, decode, inspect

THIRD_PARTY = "property of its owner; not to be passed on"


@dataclass(frozen=True)
class Entry:
    """One picture. `sha256` is empty until a first pull pinned it; `reason` says why the status is not ok."""

    image_id: str
    url: str
    sha256: str = ""
    bytes: int = 0
    mime: str = ""
    width: int = 0
    height: int = 0
    status: Status = "gone"
    pulled_utc: str = ""
    licence_note: str = THIRD_PARTY
    reason: str = ""

    @property
    def host(self) -> str:
        """The host that the picture came from, or `local`."""
        return urlsplit(self.url).hostname or "local"


class Manifest:
    """The entries of a folder by picture, and the files themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "manifest.jsonl"
        self.entries: dict[str, Entry] = {entry.image_id: entry for entry in self._read()}

    def _read(self) -> Iterable[Entry]:
        for number, row in enumerate(jsonl.recover(self.path), start=1):
            try:
                yield Entry(**row)
            except TypeError:
                raise ConfigError(f"{self.path} line {number} is no row of a manifest; delete it and pull again") from None

    def picture(self, image_id: str) -> Image | None:
        """A picture, decoded and as PNG; None where it is missing, changed or not what was pinned."""
        data = self.kept(image_id)
        if data is None or self.entries[image_id].status == "changed":
            return None
        try:
            return as_png(decode(data))
        except PictureError:
            return None

    def kept(self, image_id: str) -> bytes | None:
        """The bytes that were pinned, if the folder still holds them unchanged."""
        entry = self.entries.get(image_id)
        path = self.folder / "pictures" / entry.sha256 if entry and entry.sha256 else None
        data = path.read_bytes() if path and path.is_file() else None
        return data if entry and data is not None and hashlib.sha256(data).hexdigest() == entry.sha256 else None

    def accept(self, image_id: str, url: str, data: bytes, *, repin: bool = False, licence_note: str = THIRD_PARTY) -> Entry:
        """Files the bytes of a picture. Other bytes than the pinned ones are refused, unless `repin` is set."""
        pinned = self.entries[image_id].sha256 if image_id in self.entries else ""
        digest = hashlib.sha256(data).hexdigest()
        try:
            facts = inspect(data)
        except PictureError as error:
            return self.refuse(image_id, url, error.status, error.reason)
        if pinned and digest != pinned and not repin:
            return self.refuse(
                image_id, url, "changed", f"now {digest}; pinned was {pinned}; use --repin to take the new one"
            )
        self._store(digest, data)
        return self._append(
            Entry(
                image_id=image_id,
                url=url,
                sha256=digest,
                bytes=len(data),
                mime=facts.mime,
                width=facts.width,
                height=facts.height,
                status="ok",
                pulled_utc=_now(),
                licence_note=licence_note,
            )
        )

    def refuse(self, image_id: str, url: str, status: Status, reason: str) -> Entry:
        """Records that a picture could not be had; what was pinned before stays pinned."""
        before = self.entries.get(image_id, Entry(image_id, url))
        return self._append(replace(before, url=url, status=status, reason=reason, pulled_utc=_now()))

    def compact(self) -> None:
        """Writes one row per picture, in one step."""
        rows = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in self.entries.values()]
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(self.path, "".join(rows))

    def _store(self, digest: str, data: bytes) -> None:
        path = self.folder / "pictures" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{digest}.partial")
        partial.write_bytes(data)
        partial.replace(path)

    def _append(self, entry: Entry) -> Entry:
        self.folder.mkdir(parents=True, exist_ok=True)
        jsonl.append(self.path, asdict(entry))
        self.entries[entry.image_id] = entry
        return entry


def rot_report(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """How many pictures of each host have which status; hosts with most pictures first."""
    counts: dict[str, Counter[str]] = {}
    for entry in entries:
        counts.setdefault(entry.host, Counter())[entry.status] += 1
    by_size = sorted(counts.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return {host: dict(sorted(statuses.items())) for host, statuses in by_size}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
