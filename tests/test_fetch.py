"""Downloads, from a server on this machine."""

from __future__ import annotations

import csv
import io
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from washout import fetch
from washout.data import downloaded, nips2017, present
from washout.models import inception

COLORS = ((250, 10, 10), (10, 250, 10), (10, 10, 250), (240, 240, 10))
WIDTH, HEIGHT = 320, 200


def photograph(kind: str = "JPEG") -> bytes:
    """Four quarters of one color each."""
    pixels = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for i, color in enumerate(COLORS):
        y, x = divmod(i, 2)
        pixels[y * 100 : y * 100 + 100, x * 160 : x * 160 + 160] = color
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``pages``: path -> content, or what to do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes | str] = {}
        self.asked: Counter[str] = Counter()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path[1:]
        self.server.asked[path] += 1
        page = self.server.pages.get(path, 404)
        if isinstance(page, int):
            self.send_error(page)
        elif isinstance(page, str):
            self.send_response(302)
            self.send_header("Location", page)
            self.end_headers()
        else:
            broken = path.startswith("broken")
            self.send_response(200)
            self.send_header("Content-Length", str(len(page) * (2 if broken else 1)))
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    names = ["background", *(f"class {i}" for i in range(1, 1001))]
    server.pages["labels.txt"] = "".join(f"{i}  {n}\n" for i, n in enumerate(names)).encode()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def serve(server: Server, images: dict[str, bytes | str | int]) -> None:
    """Put images and their table, each with the box of another quarter, on the server."""
    text = io.StringIO()
    table = csv.writer(text)
    head = "ImageId,URL,x1,y1,x2,y2,TrueLabel,TargetClass,OriginalLandingURL,License,Author"
    table.writerow(head.split(","))
    for i, (path, content) in enumerate(images.items()):
        y, x = divmod(i % 4, 2)
        box = (x / 2, y / 2, x / 2 + 0.5, y / 2 + 0.5)
        url = path if "://" in path else server.url(path)
        table.writerow([f"{i:016x}", url, *box, i, i + 1, "page", "licence", "author"])
        server.pages[path] = content
    server.pages["table.csv"] = text.getvalue().encode()


def run(server: Server, folder: Path, workers: int = 2) -> list[fetch.Failure]:
    return fetch.fetch_nips2017(folder, workers, server.url("table.csv"), server.url("labels.txt"))


def test_images_are_cropped_scaled_and_stored(server, tmp_path):
    serve(server, {f"{i}.jpg": photograph() for i in range(4)})
    assert run(server, tmp_path) == []
    found = nips2017(tmp_path)
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.classes[1000] == "class 1000"
    for image, color in zip(found.images, COLORS, strict=True):
        middle = image[:, 20:-20, 20:-20].flatten(1).float()  # JPEG blurs the quarters' borders
        assert (middle.mean(1) - middle.new_tensor(color)).abs().max() < 3
        assert middle.std(1).max() < 3
    names = sorted(path.name for path in (tmp_path / "nips2017/images").iterdir())
    assert names == [f"{i:016x}.png" for i in range(4)]


def test_scaling_is_lanczos_as_the_competition_did_it(server, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="PNG")
    serve(server, {"0.png": file.getvalue()})
    assert run(server, tmp_path) == []
    expected = Image.fromarray(noise[:100, :160]).resize((299, 299), Image.Resampling.LANCZOS)
    stored = nips2017(tmp_path).images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(stored, np.asarray(expected))


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    serve(server, {f"{i}.jpg": photograph() for i in range(5)})
    run(server, tmp_path)
    server.asked.clear()
    assert run(server, tmp_path) == []
    assert not server.asked
    (tmp_path / f"nips2017/images/{3:016x}.png").unlink()
    assert run(server, tmp_path) == []
    assert server.asked == {"3.jpg": 1}


def test_a_run_that_was_stopped_goes_on(server, tmp_path, monkeypatch):
    serve(server, {f"{i}.jpg": photograph() for i in range(8)})
    write = fetch.write_whole
    stored = []

    def stopping(path: Path, content: bytes) -> None:
        if path.suffix == ".png":
            if len(stored) == 3:
                raise KeyboardInterrupt
            stored.append(path.name)
        write(path, content)

    monkeypatch.setattr(fetch, "write_whole", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(server, tmp_path, workers=1)
    monkeypatch.setattr(fetch, "write_whole", write)
    assert len(present(tmp_path)) == 3
    server.asked.clear()
    assert run(server, tmp_path) == []
    assert len(present(tmp_path)) == 8
    assert sum(server.asked.values()) == 5  # neither the table nor what was stored
    assert len(nips2017(tmp_path)) == 8


def test_images_that_cannot_be_had_are_listed(server, tmp_path):
    good = photograph()
    serve(
        server,
        {
            "0.jpg": good,
            "gone.jpg": 404,
            "broken.jpg": good,
            "half.jpg": good[: len(good) // 2],
            "text.jpg": b"<html>not here</html>",
            "moved.jpg": server.url("elsewhere.jpg"),
            "deleted.jpg": server.url("photo_unavailable.png"),
            "placeholder.jpg": photograph("PNG"),
            "file:///etc/hostname": b"",
            "8.jpg": good,
        },
    )
    server.pages |= {"elsewhere.jpg": good, "photo_unavailable.png": photograph("PNG")}
    failures = run(server, tmp_path)
    assert present(tmp_path) == [0, 5, 9]
    reasons = {failure.url.rsplit("/", 1)[-1]: failure.reason for failure in failures}
    assert list(reasons) == [
        *("gone.jpg", "broken.jpg", "half.jpg", "text.jpg", "deleted.jpg", "placeholder.jpg"),
        "hostname",
    ]
    assert reasons["gone.jpg"] == "Not Found"
    assert "broke off" in reasons["broken.jpg"]
    assert "truncated" in reasons["half.jpg"]
    assert "cannot identify" in reasons["text.jpg"]
    assert "deleted" in reasons["deleted.jpg"]
    assert "PNG for JPEG" in reasons["placeholder.jpg"]
    assert "no address on the web" in reasons["hostname"]
    assert failures[0].id == f"{1:016x}"
    assert all(failure.connected for failure in failures)
    assert len(nips2017(tmp_path, index=present(tmp_path))) == 3


def test_without_a_network_it_gives_up(server, tmp_path, monkeypatch):
    serve(server, {f"http://127.0.0.1:1/{i}.jpg": b"" for i in range(40)})
    with pytest.raises(ValueError, match=r"none of the first 16 addresses gave a connection"):
        run(server, tmp_path)
    assert present(tmp_path) == []
    monkeypatch.setattr(fetch, "GIVE_UP", 100)
    failures = run(server, tmp_path)
    assert len(failures) == 40
    assert not any(failure.connected for failure in failures)


def test_a_table_that_cannot_be_had_is_not_stored(server, tmp_path):
    for content in (404, b"<html>\nnot here\n</html>", b""):
        server.pages["table.csv"] = content
        with pytest.raises(ValueError, match=r"dev_dataset\.csv is missing, and the download from"):
            run(server, tmp_path)
    assert not (tmp_path / "nips2017/dev_dataset.csv").exists()
    server.pages["labels.txt"] = b"0 background\n"
    (tmp_path / "imagenet/labels_1001.txt").unlink()
    with pytest.raises(ValueError, match=r"labels_1001\.txt is missing.*got 1 names"):
        run(server, tmp_path)


def test_fetch_by_name(server, tmp_path, monkeypatch):
    serve(server, {"0.jpg": photograph(), "gone.jpg": 404})
    monkeypatch.setattr(
        fetch.fetch_nips2017,
        "__defaults__",
        (None, 2, server.url("table.csv"), server.url("labels.txt")),
    )
    lines: list[str] = []
    assert fetch.fetch("nips2017", tmp_path, lines.append) == 1
    assert "Not Found" in lines[0]
    assert "1 images are in" in lines[1]
    assert "1 could not be had" in lines[1]
    server.pages["gone.jpg"] = photograph()
    assert fetch.fetch("nips2017", tmp_path, lines.append) == 0
    with pytest.raises(ValueError, match=r"fetch: got 'imagenet'; allowed are nips2017, incept"):
        fetch.fetch("imagenet")
    with pytest.raises(ValueError, match=r"MNIST: missing .*the tests stay offline"):
        fetch.fetch("mnist", tmp_path)
    with pytest.raises(ValueError, match=r"CIFAR-10: missing .*the tests stay offline"):
        fetch.fetch("cifar10", tmp_path)
    with pytest.raises(ValueError, match=r"Inception V3: .*missing.*the tests stay offline"):
        fetch.fetch("inception_v3", tmp_path)


def test_inception_is_downloaded_whole_or_not_at_all(server, tmp_path, monkeypatch):
    import hashlib

    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()[:8]
    monkeypatch.setattr(inception, "FILE", f"imagenet/inception_v3_google-{digest}.pth")
    monkeypatch.setattr(inception, "URL", server.url("weights.pth"))
    monkeypatch.setattr(downloaded, "_unreachable", lambda address: "")
    for page in (404, b"other content"):
        server.pages["weights.pth"] = page
        with pytest.raises(ValueError, match=r"the download failed \((HTTP Error 404|invalid ha)"):
            fetch.fetch_inception(tmp_path)
        assert not list((tmp_path / "imagenet").iterdir())
    server.pages["weights.pth"] = content
    path = fetch.fetch_inception(tmp_path)
    assert path.read_bytes() == content
    server.asked.clear()
    assert fetch.fetch_inception(tmp_path) == path
    assert not server.asked
