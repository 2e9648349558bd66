"""Many pictures at once, politely: at most four connections, and a pause between two requests to the same host."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import urlsplit

from tenfold.systems.deepeval.decoding import PictureError
from tenfold.systems.deepeval.manifest import Entry, Manifest

MOST_CONNECTIONS = 4
Fetch = Callable[[str], bytes]


@dataclass
class Pacer:
    """Lets the requests to one host begin at least `pause_s` apart, whichever thread makes them."""

    pause_s: float
    next_start: dict[str, float] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def wait(self, host: str) -> None:
        """Returns when it is this request's turn."""
        with self.lock:
            start = max(time.monotonic(), self.next_start.get(host, 0.0))
            self.next_start[host] = start + self.pause_s
        time.sleep(max(0.0, start - time.monotonic()))


def needing(manifest: Manifest, urls: Mapping[str, str], *, recheck: bool = False) -> dict[str, str]:
    """The pictures that must be fetched: those not kept and, with `recheck`, all."""
    return {image_id: url for image_id, url in urls.items() if recheck or not _is_settled(manifest, image_id)}


def _is_settled(manifest: Manifest, image_id: str) -> bool:
    return manifest.kept(image_id) is not None and manifest.entries[image_id].status == "ok"


def pull(
    manifest: Manifest, urls: Mapping[str, str], fetch: Fetch, *, pause_s: float, repin: bool = False
) -> Iterator[Entry]:
    """Fetches pictures and files each as it comes, in no order; failures are entries with their status."""
    pacer = Pacer(pause_s)
    pool = ThreadPoolExecutor(MOST_CONNECTIONS)
    try:
        pending = {pool.submit(_fetch, fetch, url, pacer): (image_id, url) for image_id, url in urls.items()}
        for future in as_completed(list(pending)):
            image_id, url = pending.pop(future)  # so that the bytes are let go of
            yield _file(manifest, image_id, url, future, repin=repin)
    finally:
        pool.shutdown(cancel_futures=True)
    manifest.compact()


def _fetch(fetch: Fetch, url: str, pacer: Pacer) -> bytes:
    pacer.wait(_host(url))
    return fetch(url)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _file(manifest: Manifest, image_id: str, url: str, future: "Future[bytes]", *, repin: bool) -> Entry:
    try:
        data = future.result()
    except PictureError as error:
        return manifest.refuse(image_id, url, error.status, error.reason)
    return manifest.accept(image_id, url, data, repin=repin)
