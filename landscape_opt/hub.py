"""Landscapes on the Hugging Face Hub, or in a folder: two files, a weights file and its card, and nothing that runs."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from .atomic import write
from .card import card_path
from .card_text import as_markdown
from .checkpoint import CheckpointError
from .objective import ForwardModel, LossFn
from .saving import load, matching_card, save

if TYPE_CHECKING:
    from .inverter import LandscapeInverter

NAME = "model.landscape"
PAGE = "README.md"
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_FRONT_MATTER = "---\nlibrary_name: landscape_opt\ntags:\n- landscape-opt\n- inverse-problems\n---\n\n"
_Inverter = TypeVar("_Inverter", bound="LandscapeInverter")


def push(
    inverter: LandscapeInverter,
    repo_id: str | os.PathLike[str],
    *,
    name: str = NAME,
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "A landscape",
    page: bool = True,
) -> str:
    """Publish an inverter: its weights file, its card, and the card as the page of the repository, in one commit.

    Args:
        inverter: whose F, ``loss_fn`` and ``given`` are not published; they are code.
        repo_id: ``"user/name"`` on the Hub, which is made where it is missing; or a folder: a ``Path``, an absolute path,
            one that begins with a dot, or one that exists.
        name: of the weights file.
        revision: the branch; None is the main one.
        private: of a repository that is made; None is the default of its owner.
        token: of the Hub; None takes the one that you have logged in with.
        message: of the commit.
        page: whether ``README.md`` is written anew from the card; False leaves the one that is there.

    Returns:
        The identifier of the commit, or the path of the folder.

    Raises:
        ImportError: where ``huggingface_hub`` is not installed.
        NotWrittenError: where a folder cannot be written to.
    """
    _check_name(name)
    if _is_folder(repo_id):
        folder = Path(repo_id)
        folder.mkdir(parents=True, exist_ok=True)
        _save_all(inverter, folder, name, page)
        return str(folder)
    hub = _hub()
    with tempfile.TemporaryDirectory() as folder_name:
        _save_all(inverter, Path(folder_name), name, page)
        files = {each.name: each.read_bytes() for each in sorted(Path(folder_name).iterdir())}
    client = hub.HfApi(token=token)
    client.create_repo(os.fspath(repo_id), private=private, exist_ok=True)
    operations = [hub.CommitOperationAdd(path_in_repo=each, path_or_fileobj=content) for each, content in files.items()]
    done = client.create_commit(os.fspath(repo_id), operations, commit_message=message, revision=revision)
    return str(done.oid)


def from_pretrained(
    make: type[_Inverter],
    repo_id: str | os.PathLike[str],
    forward_model: ForwardModel,
    loss_fn: LossFn,
    *,
    name: str = NAME,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    stacklevel: int = 4,
    **own: Any,
) -> _Inverter:
    """An inverter that was published.

    Two files are fetched, the weights file and its card, both of one commit. The card has to be that of the weights file, by
    its sha256. Both are data: no code is fetched, and none runs.

    Args:
        make: the class of the inverter.
        repo_id: as in :func:`push`.
        forward_model: F.
        loss_fn: as at saving.
        name: of the weights file.
        revision: a branch, a tag, or the hash of a commit, which pins what is fetched.
        token: as in :func:`push`.
        cache_dir: where fetched files are kept; None is the Hub's own cache.
        stacklevel: of warnings.
        own: as in :meth:`~landscape_opt.LandscapeInverter.load`, ``device`` included.

    Raises:
        ImportError: where ``huggingface_hub`` is not installed.
        CheckpointError: where a file is missing, was damaged, or is not the one of the card; as in ``load``.
    """
    _check_name(name)
    folder = Path(repo_id) if _is_folder(repo_id) else _fetched(os.fspath(repo_id), name, revision, token, cache_dir)
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{os.fspath(repo_id)!r} holds no {name!r}: no landscape was pushed there under this name")
    matching_card(path)
    return load(make, path, forward_model, loss_fn, stacklevel=stacklevel, **own)


def _save_all(inverter: LandscapeInverter, folder: Path, name: str, page: bool) -> None:
    card = save(inverter, folder / name)
    if page:
        write({folder / PAGE: (_FRONT_MATTER + as_markdown(card)).encode()})


def _fetched(
    repo_id: str, name: str, revision: str | None, token: str | None, cache_dir: str | os.PathLike[str] | None
) -> Path:
    """The folder of one commit, with the two files and no others."""
    wanted = [name, card_path(name).name]
    folder = _hub().snapshot_download(
        repo_id,
        revision=revision,
        token=token,
        cache_dir=None if cache_dir is None else os.fspath(cache_dir),
        allow_patterns=wanted,
        library_name="landscape_opt",
    )
    return Path(folder)


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError('the Hub needs one more package: pip install "landscape-opt[hub]"') from error
    return huggingface_hub


def _is_folder(repo_id: str | os.PathLike[str]) -> bool:
    if not isinstance(repo_id, str):
        return True
    return repo_id.startswith(".") or Path(repo_id).is_absolute() or Path(repo_id).is_dir()


def _check_name(name: str) -> None:
    """A plain file name: no folder, and nothing that a pattern would read as more than one file."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"name must be a plain file name of letters, digits, '.', '-' and '_', got {name!r}")
