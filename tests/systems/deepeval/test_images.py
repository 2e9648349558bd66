"""Pictures: decoding, the manifest, and pulling from a stub host; every link state, pinned checksums, torn lines."""

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import UserError
from tenfold.store import runs
from tenfold.systems.deepeval import decoding, images
from tenfold.systems.deepeval.decoding import PictureError, decode, inspect
from tenfold.systems.deepeval.fetching import Fetcher, is_public
from tenfold.systems.deepeval.items import Annotation, write_jsonl
from tenfold.systems.deepeval.manifest import Manifest, rot_report
from tenfold.systems.deepeval.pulling import Pacer, needing, pull


def png(colour: str = "red", size: tuple[int, int] = (40, 48), **settings: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(buffer, settings.pop("format", "PNG"), **settings)
    return buffer.getvalue()


# decoding


def test_the_first_frame_of_an_animation_counts() -> None:
    buffer = io.BytesIO()
    frames = [PIL.Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode(buffer.getvalue()).getpixel((5, 5)) == (254, 0, 0) or decode(buffer.getvalue()).getpixel((5, 5)) == (
        255,
        0,
        0,
    )


def test_the_turn_of_the_camera_is_applied() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert inspect(png(size=(40, 80), format="JPEG", exif=exif)) == decoding.Facts("image/jpeg", 80, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    buffer = io.BytesIO()
    clear = PIL.Image.new("RGBA", (40, 40), (0, 0, 0, 0)).convert(mode)
    clear.save(buffer, "PNG", **({"transparency": clear.getpixel((0, 0))} if mode == "P" else {}))
    assert decode(buffer.getvalue()).mode == "RGB" and decode(buffer.getvalue()).getpixel((9, 9)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "not_image"),
        (b"<html>gone</html>", "not_image"),
        (png()[:60], "not_image"),
        (png(size=(31, 400)), "too_small"),
        (png(size=(12_000, 4_000)), "blocked"),
    ],
)
def test_a_file_that_cannot_be_used_has_a_status(data: bytes, status: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert caught.value.status == status


@given(data=st.binary(max_size=300), cut=st.integers(0, 200), flip=st.integers(0, 7))
def test_broken_files_never_raise_anything_else(data: bytes, cut: int, flip: int) -> None:
    whole = bytearray(png(format="GIF"))
    whole[min(cut, len(whole) - 1)] ^= 1 << flip
    for broken in (data, bytes(whole), bytes(whole[:cut]) + data):
        try:
            assert decode(broken).mode == "RGB"
        except PictureError as error:
            assert error.reason


def test_equal_pixels_give_equal_bytes() -> None:
    assert decoding.as_png(decode(png())).data == decoding.as_png(decode(png(compress_level=1))).data


# the manifest


def test_the_first_pull_pins_and_other_bytes_are_refused_until_repin(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    first = manifest.accept("a", "http://x/a", png("red"))
    assert (first.status, first.mime, first.width, first.height, first.bytes) == ("ok", "image/png", 40, 48, len(png("red")))
    changed = manifest.accept("a", "http://x/a", png("blue"))
    assert changed.status == "changed" and changed.sha256 == first.sha256 and "--repin" in changed.reason
    assert Manifest(tmp_path).picture("a") is None
    again = Manifest(tmp_path).accept("a", "http://x/a", png("blue"), repin=True)
    assert again.status == "ok" and again.sha256 != first.sha256
    assert Manifest(tmp_path).picture("a") == decoding.as_png(decode(png("blue")))


def test_a_torn_line_is_forgotten_and_compacting_keeps_the_last_row(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.accept("a", "http://x/a", png("red"))
    manifest.refuse("b", "http://x/b", "timeout", "slow")
    manifest.accept("b", "http://x/b", png("blue"))
    with manifest.path.open("ab") as file:
        file.write(b'{"image_id": "c", "url": "http://x/c", "sha')
    again = Manifest(tmp_path)
    assert set(again.entries) == {"a", "b"} and again.entries["b"].status == "ok"
    assert set(needing(again, {"a": "", "b": "", "c": ""})) == {"c"}
    again.compact()
    assert [json.loads(line)["image_id"] for line in again.path.read_text().splitlines()] == ["a", "b"]


def test_a_file_that_was_changed_on_disk_is_no_picture_and_pulled_again(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    entry = manifest.accept("a", "http://x/a", png())
    (tmp_path / "pictures" / entry.sha256).write_bytes(png("blue"))
    assert manifest.picture("a") is None and set(needing(manifest, {"a": "http://x/a"})) == {"a"}


def test_a_dead_link_does_not_cost_a_picture_that_is_kept(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.accept("a", "http://x/a", png())
    manifest.refuse("a", "http://x/a", "gone", "HTTP 404")
    assert manifest.entries["a"].status == "gone" and manifest.picture("a") is not None
    assert rot_report(manifest.entries.values()) == {"x": {"gone": 1}}


# fetching, from a stub host


@dataclass
class StubHost:
    """Answers on loopback; `pages` may be changed between pulls."""

    pages: dict[str, bytes | int | str]
    url: str = ""
    asked: list[tuple[str, float]] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.asked.append((handler.path, time.monotonic()))
        time.sleep(0.01)
        with self.lock:
            self.at_once -= 1
        page = self.pages.get(handler.path, 404)
        if page == "hang":
            time.sleep(0.5)
            return
        body = page if isinstance(page, bytes) else b""
        handler.send_response(page if isinstance(page, int) else 302 if isinstance(page, str) else 200)
        if isinstance(page, str):
            handler.send_header("Location", page)
        handler.send_header("Content-Length", str(len(body) + (500 if handler.path == "/short" else 0)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def host() -> Iterator[StubHost]:
    stub = StubHost(
        {
            "/ok": png(),
            "/moved": "/ok",
            "/loop": "/loop",
            "/inside": "http://169.254.1.1/secret",
            "/file": "file:///etc/hosts",
            "/busy": 429,
            "/down": 503,
            "/html": b"<html></html>",
            "/small": png(size=(8, 8)),
            "/large": b"x" * 5000,
            "/short": png(),
            "/slow": "hang",
        }
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield stub
    server.shutdown()
    server.server_close()


def loopback(address: str) -> bool:
    return address == "127.0.0.1"


FETCHER = Fetcher(timeout_s=0.25, most_bytes=4000, allows=loopback)
STATES = {
    "/ok": "ok",
    "/moved": "ok",
    "/missing": "gone",
    "/loop": "blocked",
    "/inside": "blocked",
    "/file": "blocked",
    "/busy": "blocked",
    "/down": "timeout",
    "/html": "not_image",
    "/small": "too_small",
    "/large": "blocked",
    "/short": "timeout",
    "/slow": "timeout",
}


def test_every_state_of_a_link(host: StubHost, tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    urls = {path: f"{host.url}{path}" for path in STATES}
    found = {entry.image_id: entry.status for entry in pull(manifest, urls, FETCHER.fetch, pause_s=0)}
    assert found == STATES
    assert host.most_at_once <= 4
    assert all(entry.reason for entry in manifest.entries.values() if entry.status != "ok")
    host.pages["/ok"] = png("blue")
    again = {entry.image_id: entry.status for entry in pull(manifest, {"/ok": urls["/ok"]}, FETCHER.fetch, pause_s=0)}
    assert again == {"/ok": "changed"}


@pytest.mark.parametrize(
    "url", ["", "ftp://x/a", "file:///etc/passwd", "http://", "http://[bad", "http://x:99999/", "data:,x"]
)
def test_other_addresses_are_never_fetched(url: str) -> None:
    with pytest.raises(PictureError) as caught:
        Fetcher().fetch(url)
    assert caught.value.status == "blocked"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1%eth0", "::ffff:127.0.0.1",
     "fd00::1", "224.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_private_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_allowed_and_a_loopback_host_is_not(host: StubHost) -> None:
    assert is_public("93.184.216.34") and is_public("2606:2800:220:1::1")
    with pytest.raises(PictureError, match="no public address"):
        Fetcher().fetch(f"{host.url}/ok")
    assert host.asked == []


def test_a_dead_port_is_a_timeout() -> None:
    with pytest.raises(PictureError) as caught:
        Fetcher(timeout_s=0.3, allows=loopback).fetch("http://127.0.0.1:9/x")
    assert caught.value.status == "timeout"


def test_requests_to_one_host_keep_their_distance() -> None:
    pacer, starts = Pacer(0.03), []

    def work() -> None:
        pacer.wait("x")
        starts.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(4)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(starts) - begin >= 0.089
    pacer.wait("another")


# the verb


def annotations(folder: Path, host: StubHost, paths: list[str]) -> str:
    notes = [Annotation(path[1:], "a", "b", "c", image=f"{host.url}{path}") for path in paths]
    write_jsonl(folder / "notes.jsonl", notes)
    return str(folder / "notes.jsonl")


def test_pull_needs_consent_then_fetches_once(host: StubHost, tmp_path: Path) -> None:
    data = annotations(tmp_path, host, ["/ok", "/moved", "/missing"])
    settings: dict[str, Any] = {"data": data, "folder": str(tmp_path / "pictures"), "action": "pull", "pause_s": 0}
    refused = images.ImagesConfig(**settings)
    with pytest.raises(UserError, match="--accept-terms"):
        images.images(refused, runs.start(tmp_path, "images", refused), allows=loopback)
    assert host.asked == []
    config = images.ImagesConfig(**settings, accept_terms=True, timeout_s=2)
    metrics = images.images(config, run := runs.start(tmp_path, "images", config), allows=loopback)
    assert metrics["status"] == {"gone": 1, "ok": 2} and metrics["usable"] == 2
    assert metrics["hosts"] == {"127.0.0.1": {"gone": 1, "ok": 2}} and len(run.rows) == 3
    asked = len(host.asked)
    again = images.images(config, runs.start(tmp_path, "images", config), allows=loopback)
    assert again["usable"] == 2 and len(host.asked) == asked + 1  # only the missing one
    assert "2 of 3 pictures can be used" in images.summary(again)


def test_local_files_are_added_by_name(host: StubHost, tmp_path: Path) -> None:
    data = annotations(tmp_path, host, ["/one", "/two"])
    source = tmp_path / "source"
    source.mkdir()
    (source / "one.png").write_bytes(png())
    (source / "other.png").write_bytes(png())
    config = images.ImagesConfig(
        data=data, folder=str(tmp_path / "kept"), action="add", source=str(source), licence_note="ours"
    )
    metrics = images.images(config, runs.start(tmp_path, "images", config))
    assert (metrics["usable"], metrics["pictures"], metrics["never_tried"]) == (1, 2, 1)
    assert Manifest(tmp_path / "kept").entries["one"].licence_note == "ours"
    for wrong in ({"source": None}, {"source": str(tmp_path / "kept" / "pictures")}):
        bad = config.model_copy(update=wrong)
        with pytest.raises(UserError):
            images.images(bad, runs.start(tmp_path, "images", bad))
