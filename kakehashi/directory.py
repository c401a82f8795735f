"""Model directories: what every model is kept in, whatever it does.

A model directory is relocatable and holds no pickle: `config.yaml` (how the model is built, the format's version),
`model.safetensors` (tied weights once), the vocabulary's own files, and `card.json` where the model was measured.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from ruamel.yaml import YAML, YAMLError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kakehashi.config import Config, dump, load
from kakehashi.data.corpus import sync
from kakehashi.errors import UserError

FORMAT_VERSION = 1
CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "card.json"
USES = {
    "translation": "a translator: use it with kakehashi translate",
    "language_model": "a language model: use it with kakehashi generate",
}

Precision = Literal["fp32", "bf16"]
C = TypeVar("C", bound=Config)


def task_of(directory: Path) -> str:
    """What the model is for: a key of `USES`. Raises UserError when this is no model directory."""
    return str(_read_tree(directory).get("task", "translation"))


def read_config(directory: Path, type: type[C], task: str) -> C:
    """What `config.yaml` says.

    Raises UserError when it is missing, damaged, of another format version, or belongs to a model of another task.
    """
    found = task_of(directory)
    if found != task:
        raise UserError(f"{directory} is {USES.get(found, f'a model for the unknown task {found!r}')}")
    return load(directory / CONFIG, type)


def read_card(directory: Path) -> dict[str, Any] | None:
    """What `card.json` says, where there is one."""
    path = directory / CARD
    try:
        return json.loads(path.read_text("utf-8")) if path.exists() else None
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def load_model(model: nn.Module, directory: Path, precision: Precision, device: str) -> torch.device:
    """Fills a model that was built as `config.yaml` says, for use and not for training; returns where it lies.

    On a CPU in the precision of the file the weights are pages of the file, which all processes that use it share.
    `device`: torch's name of one; "auto" takes a GPU where there is one. Raises UserError when the file is damaged or
    does not fit.
    """
    stored = _fitting(model, directory)
    for name, tensor in _tensors(model).items():
        tensor.data = stored[name].to(tensor.dtype)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    model.to(device=place, dtype=torch.bfloat16 if precision == "bf16" else torch.float32).eval()
    return place


def save(
    directory: Path,
    config: Config,
    model: nn.Module,
    save_vocabulary: Callable[[Path], None],
    card: Mapping[str, Any] | None,
) -> None:
    """Writes to a temporary name beside `directory`, then renames: a reader sees the old model or the new one.

    Raises UserError when something else stands at `directory`.
    """
    directory = directory.resolve()
    if directory.exists() and not (directory / CONFIG).is_file() and not _empty(directory):
        raise UserError(f"{directory} exists and is no model directory: choose another place, or remove it")
    with replaced(directory) as new:
        new.mkdir()
        (new / CONFIG).write_text(dump(config), "utf-8")
        save_file({name: each.detach().cpu().contiguous() for name, each in _tensors(model).items()}, new / WEIGHTS)
        save_vocabulary(new)
        if card is not None:
            (new / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", "utf-8")


@contextmanager
def replaced(path: Path) -> Generator[Path]:
    """A temporary name beside `path`, for a file or a folder to be made there; what is made takes the place of what
    stands at `path` when the block ends, and is removed when the block raises."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    new, old = (path.with_name(f".{path.name}.{mark}.{what}") for what in ("new", "old"))
    try:
        yield new
        for each in (*new.rglob("*"), new):
            sync(each)
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        sync(path.parent)
    finally:
        _remove(new)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _read_tree(directory: Path) -> dict[str, Any]:
    """`config.yaml` before it is validated, but of a format that we read."""
    path = directory / CONFIG
    if not path.is_file():
        raise UserError(f"{directory} is no model directory: it has no config.yaml")
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    tree = tree if isinstance(tree, dict) else {}
    version = tree.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        advice = "a newer kakehashi wrote it; update kakehashi" if newer else "it is damaged, or no model directory"
        raise UserError(f"{path}: format_version is {version}, this kakehashi reads {FORMAT_VERSION}: {advice}")
    return tree


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name, tied ones once, under the first of their names."""
    named: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        named.setdefault(tensor.data_ptr(), (name, tensor))
    return dict(named.values())


Fitted = Callable[[str, Tensor], Tensor]


def load_weights(model: nn.Module, directory: Path, fitted: Fitted = lambda name, stored: stored) -> None:
    """Copies the weights of a directory. Raises UserError as `load_model` does.

    `fitted`: what becomes of each stored tensor, by its name, before it is compared with the model's.
    """
    stored = _fitting(model, directory, fitted)
    model.load_state_dict(stored, strict=False)  # not strict: the file has one name of tied tensors


def _fitting(model: nn.Module, directory: Path, fitted: Fitted = lambda name, stored: stored) -> dict[str, Tensor]:
    """The tensors of the file, as `_tensors` names them, memory-mapped.

    Raises UserError that lists what does not fit, when the file is damaged, or the model is another.
    """
    path = directory / WEIGHTS
    try:
        stored = {name: fitted(name, tensor) for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    expected = _tensors(model)
    both = expected.keys() & stored.keys()
    wrong = [
        f"{name} has shape {list(stored[name].shape)}, the configuration says {list(expected[name].shape)}"
        for name in sorted(both)
        if stored[name].shape != expected[name].shape
    ]
    wrong += [f"{name} is missing" for name in sorted(expected.keys() - both)]
    wrong += [f"{name} is unexpected" for name in sorted(stored.keys() - both)]
    if wrong:
        raise UserError(f"{path} does not fit the configuration and the vocabulary:\n  " + "\n  ".join(wrong))
    return stored
