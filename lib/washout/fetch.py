"""Downloads for whoever has a network: the NIPS 2017 images and Inception V3's weights.

What is there is kept, each file is stored whole or not at all, and a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import io
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from tqdm import tqdm

from washout import data
from washout.checks import check_choice, check_count
from washout.data.competition import Entry, class_names, entries
from washout.data.nips2017 import IMAGES, LABELS, SIZE, TABLE
from washout.files import write_whole
from washout.models import inception
from washout.paths import data_folder

NAMES = ("nips2017", "inception_v3", "mnist", "cifar10")
CSV_URL = (
    "https://raw.githubusercontent.com/cleverhans-lab/cleverhans/master/cleverhans_v3.1.0/"
    "examples/nips17_adversarial_competition/dataset/dev_dataset.csv"
)
LABELS_URL = "https://raw.githubusercontent.com/google-coral/test_data/master/imagenet_labels.txt"
TIMEOUT = 20.0  # seconds that a server has to answer
LARGEST = 1 << 27  # bytes that a download may have
GIVE_UP = 16  # addresses that give no connection, none having given one


@dataclass(frozen=True)
class Failure:
    """An image that could not be had.

    Attributes:
        id: what its file would be called, without the suffix.
        url: its address.
        reason: what went wrong.
        connected: whether a server answered at all.
    """

    id: str
    url: str
    reason: str
    connected: bool = True


def fetch(name: str, folder: str | Path | None = None, say: Callable[[str], None] = print) -> int:
    """Download what ``name`` needs and is not there.

    Args:
        name: one of ``NAMES``.
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.
        say: takes a line for the user.

    Returns:
        0 if all of it is there now, 1 if single images could not be had.

    Raises:
        ValueError: an unknown name, no network, or no permission to write.
    """
    check_choice(name, NAMES, "fetch")
    root = data_folder(folder)
    if name == "inception_v3":
        say(f"{fetch_inception(root)} is there")
        return 0
    if name != "nips2017":
        data.load(name, root)
        say(f"{name} is in {root}")
        return 0
    failures = fetch_nips2017(root)
    for failure in failures:
        say(f"{failure.id}: {failure.reason} ({failure.url})")
    say(
        f"{len(data.present(root)):,} images are in {root / IMAGES}"
        + (
            f"; {len(failures):,} could not be had: run this again, or get them from another copy "
            "of the competition's development set"
            if failures
            else ""
        )
    )
    return 1 if failures else 0


def fetch_inception(folder: str | Path | None = None) -> Path:
    """Inception V3's weights, from torchvision's server to ``imagenet/`` in the data folder.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Returns:
        The file.

    Raises:
        ValueError: they are not there and cannot be downloaded.
    """
    return inception.download(folder)


def fetch_nips2017(
    folder: str | Path | None = None,
    workers: int = 8,
    csv_url: str = CSV_URL,
    labels_url: str = LABELS_URL,
) -> list[Failure]:
    """The images of the competition's development set, each from its address in the CSV.

    A photograph is cropped to its box and scaled to 299 x 299 with Lanczos's filter, as the
    competition's own downloader did it; another version of Pillow or of Flickr's file can change
    single pixels.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.
        workers: downloads at a time.
        csv_url: where the CSV is, unless it is in the folder: cleverhans 3.1.0.
        labels_url: where the names of the classes are, likewise.

    Returns:
        The images that could not be had, in the CSV's order; photographs are deleted over the
        years.

    Raises:
        ValueError: the CSV or the names cannot be had, nothing can be reached, or the folder
            cannot be written to.
    """
    check_count(workers, 1, "workers")
    root = data_folder(folder)
    _provide(root / LABELS, labels_url, _names)
    table = _provide(root / TABLE, csv_url, _table)
    known = entries(table, root / TABLE)
    waiting = [entry for entry in known if not _path(root, entry).is_file()]
    failures: dict[str, Failure] = {}
    pool = ThreadPoolExecutor(workers)
    try:
        jobs = [pool.submit(_fetch_image, root, entry) for entry in waiting]
        progress = tqdm(as_completed(jobs), "NIPS 2017", len(jobs), unit="image", disable=None)
        for done, job in enumerate(progress, start=1):
            failure = job.result()
            if failure:
                failures[failure.id] = failure
            if done == GIVE_UP == sum(not failure.connected for failure in failures.values()):
                raise ValueError(
                    f"NIPS 2017: none of the first {GIVE_UP} addresses gave a connection "
                    f"({next(iter(failures.values())).reason}); connect to the network and run "
                    "this again, or put the images into " + str(root / IMAGES)
                )
    finally:
        pool.shutdown(cancel_futures=True)
    return [failures[entry.id] for entry in waiting if entry.id in failures]


def _path(root: Path, entry: Entry) -> Path:
    return root / IMAGES / f"{entry.id}.png"


def _fetch_image(root: Path, entry: Entry) -> Failure | None:
    """Download, crop, scale and store one image."""
    try:
        content, address = _read(entry.url)
        picture = _cut(content, address, entry)
    except (OSError, HTTPException, ValueError, Image.DecompressionBombError) as error:
        connected = isinstance(error, urllib.error.HTTPError) or not isinstance(
            error, (urllib.error.URLError, TimeoutError)
        )
        reason = str(getattr(error, "reason", "") or error or type(error).__name__)
        return Failure(entry.id, entry.url, reason, connected)
    write_whole(_path(root, entry), picture)
    return None


def _read(url: str) -> tuple[bytes, str]:
    """What is at an address, and the address that it was redirected to."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("no address on the web")
    request = urllib.request.Request(url, headers={"User-Agent": "washout"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        content = response.read(LARGEST + 1)
        length = response.headers.get("Content-Length")
        # A read with a limit does not notice by itself that a connection broke off.
        if length and length.isdigit() and len(content) < min(int(length), LARGEST + 1):
            raise ValueError(f"broke off after {len(content):,} of {int(length):,} bytes")
        if len(content) > LARGEST:
            raise ValueError(f"larger than {LARGEST:,} bytes")
        return content, response.url


def _cut(content: bytes, address: str, entry: Entry) -> bytes:
    """The box of a photograph, 299 x 299, as a PNG file."""
    # Flickr answers for a deleted photograph with a picture, photo_unavailable.png, that says so.
    if "unavailable" in urlsplit(address).path.rsplit("/", 1)[-1]:
        raise ValueError("the photograph was deleted: the server sends a placeholder")
    with Image.open(io.BytesIO(content)) as image:
        suffix = Path(urlsplit(entry.url).path).suffix.lower()
        expected = Image.registered_extensions().get(suffix, image.format)
        if image.format != expected:
            raise ValueError(f"the server sends {image.format} for {expected}: a placeholder")
        x1, y1, x2, y2 = entry.box
        w, h = image.size
        box = (int(x1 * w), int(y1 * h), int(x2 * w), int(y2 * h))
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"a picture of {w} x {h} pixels is too small to crop")
        cropped = image.convert("RGB").crop(box)
    file = io.BytesIO()
    cropped.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(file, format="PNG")
    return file.getvalue()


def _table(text: str) -> str:
    """The CSV as it is, if it is one."""
    entries(text, "the download")
    return text


def _names(text: str) -> str:
    """The names of the classes without the numbers that stand before them."""
    names = class_names(re.sub(r"^\d+\W*", "", text, flags=re.MULTILINE), "the list of classes")
    return "".join(f"{name}\n" for name in names)


def _provide(path: Path, url: str, checked: Callable[[str], str]) -> str:
    """The text of a file; downloaded, checked and stored if it is not there."""
    if not path.is_file():
        try:
            text = checked(_read(url)[0].decode("utf-8"))
        except (OSError, HTTPException, ValueError) as error:
            raise ValueError(
                f"NIPS 2017: {path} is missing, and the download from {url} failed "
                f"({getattr(error, 'reason', '') or error}); connect to the network and run this "
                "again, or put the file there"
            ) from error
        write_whole(path, text.encode())
    return path.read_text(encoding="utf-8", errors="replace")
