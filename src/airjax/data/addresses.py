"""Files at addresses such as s3://bucket/folder: listed once, and copied to this machine while they are read.

An `Address` does what this package asks of a `Path` to something that is read. fsspec knows the kinds of stores, and
takes credentials and options from where each store's own tools look for them.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from airjax.config import is_address

_TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "mtime", "LastModified", "last_modified", "created")
"""Names under which stores tell the version of a file, the most telling first."""
_SEVERAL_ADDRESSES = ""


class UnreachableError(Exception):
    """A store can't be reached, or refuses to be read; the message says which, and why."""


State = tuple[int, str]
"""Size and version of a file, as its store tells them; a version that isn't told is empty."""


class _Store:
    """What is known of an address and of the files below it: asked once, so that a command sees one state of them.

    With a pattern, such as `day*/*.png`, only the files that it matches are known.
    """

    def __init__(self, address: str, pattern: str | None = None):
        self.address, self._pattern = address, pattern

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        if importlib.util.find_spec("fsspec") is None:
            raise ValueError(f"{self.address} needs more packages: pip install 'airjax[remote]'")
        from fsspec.core import url_to_fs

        with reaching(self.address):
            files, path = url_to_fs(self.address)
            return files, path.rstrip("/")

    @cached_property
    def listing(self) -> dict[str, State | None]:
        """The state of every file below the address, by path; None where listing doesn't tell it."""
        files, path = self._opened
        with reaching(self.address):
            files.invalidate_cache()
            if self._pattern:
                found = files.glob(f"{path}/{self._pattern}", detail=True)
            else:
                found = files.find(path, detail=True)
            if not found:
                files.ls(path)  # some stores list nothing where they can't be reached
        below = lambda name: name.removeprefix(path).lstrip("/")
        return {below(name): _state(told) for name, told in found.items() if told["type"] == "file"}

    def state(self, name: str) -> State:
        """Return the state of a file; "" is the address itself."""
        if name and (listed := self.listing.get(name)):
            return listed
        files, path = self._opened
        with reaching(self.joined(name)):
            told = files.info(f"{path}/{name}" if name else path)
        if told["type"] != "file":
            raise FileNotFoundError(f"{self.joined(name)} is not a file")
        return _state(told) or (0, "")

    def fetch(self, name: str, to: Path) -> None:
        """Copy a file to this machine."""
        files, path = self._opened
        with reaching(self.joined(name)):
            files.get_file(f"{path}/{name}" if name else path, str(to))

    def joined(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.address}/{name}" if name else self.address


def _state(told: dict[str, Any]) -> State | None:
    if told.get("size") is None:
        return None
    return int(told["size"]), next((str(told[tag]) for tag in _TAGS if told.get(tag)), "")


@dataclass(frozen=True)
class Address:
    """A file or folder at an address; the one without text stands for several, that are named in full.

    Attributes:
        text: the address.
    """

    text: str
    _store: _Store = field(compare=False, repr=False)
    _name: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Address":
        if self.text == _SEVERAL_ADDRESSES:
            return address(name)
        return Address(f"{self.text}/{name}", self._store, f"{self._name}/{name}".lstrip("/"))

    @property
    def suffix(self) -> str:
        """The suffix of its name, such as `.png`."""
        return PurePosixPath(self.text).suffix

    def resolve(self) -> "Address":
        """Return the address itself: it holds wherever a command runs."""
        return self

    absolute = resolve

    def is_dir(self) -> bool:
        """Tell whether it is a folder: it is unless its name has a suffix of a file. The store is not asked."""
        from airjax.data.reading import SUFFIXES, split

        return PurePosixPath(split(self.text)[0]).suffix.lower() not in SUFFIXES | {".npz"}

    def is_file(self) -> bool:
        """Tell whether there is such a file."""
        try:
            self.state()
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """List the files below it, as paths with forward slashes."""
        return list(self._store.listing)

    def state(self) -> State:
        """Return size and version of a file."""
        return self._store.state(self._name)

    def knowing(self, states: dict[str, State]) -> "Address":
        """Return the same folder, of which only some files are known, so that its store need not be asked."""
        store = _Store(self.text)
        store.listing = dict(states)
        return Address(self.text, store)

    def __reduce__(self):
        """Leave behind what is known of a store."""
        return (address if self.text else several_addresses), ((self.text,) if self.text else ())

    def fetch(self, to: Path) -> None:
        """Copy the file to a path.

        Raises:
            FileNotFoundError: it does not exist.
            UnreachableError: it can't be read for another reason.
        """
        self._store.fetch(self._name, to)


Place = Path | Address
"""Where something is read: a path, or an address."""


def place(text: str) -> Place:
    """Return the path or the address that a text names; an address of a local file is its path."""
    if text.startswith(("file://", "local://")):
        return Path(text.split("://", 1)[1])
    return address(text) if is_address(text) else Path(text)


def address(text: str) -> Address:
    """Return an address; nothing is asked yet."""
    text = text.rstrip("/")
    return Address(text, _Store(text))


def several_addresses() -> Address:
    """Return the folder of addresses that are named in full."""
    return Address(_SEVERAL_ADDRESSES, _Store(_SEVERAL_ADDRESSES))


def matching(pattern: str) -> tuple[Place, list[str]]:
    """Find the files that a pattern such as `s3://bucket/day*/*.png` or `folder/**/*.tif` matches.

    Returns:
        The folder in which the pattern begins, and sorted paths below it.
    """
    fixed = pattern.split("*")[0].rpartition("/")[0]
    rest = pattern.removeprefix(fixed).lstrip("/")
    if is_address(pattern):
        root = Address(fixed, _Store(fixed, rest))
        return root, sorted(root.names())
    root = Path(fixed or ("/" if pattern.startswith("/") else "."))
    found = root.glob(rest)
    return root, sorted(path.relative_to(root).as_posix() for path in found if path.is_file())


def is_pattern(text: str) -> bool:
    """Tell whether a text is a pattern, and not a file that is there."""
    return "*" in text and (is_address(text) or not Path(text).exists())


def state_of(file: Place) -> tuple[int, int | str]:
    """Return the size of a file and its time or version, by which a change is noticed without reading it."""
    if isinstance(file, Address):
        return file.state()
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


@contextmanager
def reaching(text: str) -> Iterator[None]:
    """Turn what a store's package raises into an error with one sentence that names the address.

    Raises:
        FileNotFoundError: there is no such file, folder or bucket.
        UnreachableError: anything else: no connection, no permission, no credentials.
        ValueError: no package for this kind of address is installed, or there is none.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{text} does not exist{_reason(error, text)}") from None
    except ImportError as error:
        raise ValueError(f"{text} needs {_words(error)}: pip install 'airjax[remote]'") from None
    except Exception as error:  # those of stores have no common base class
        if str(error).startswith("Protocol not known"):
            raise ValueError(f"{text} is an address of a kind that is not known") from None
        raise UnreachableError(f"{text} can't be read: {_words(error)}") from None


def _reason(error: Exception, text: str) -> str:
    words = _words(error)
    return "" if words.rstrip("/") in text or words == type(error).__name__ else f": {words}"


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
