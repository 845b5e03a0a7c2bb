"""Which model exactly: the Hub commit, or a hash of a local folder's files. Part of every request's key and of the card."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from arhn_hf.records import UsageError

_PARTS = ("*.safetensors", "*.bin", "*.gguf", "*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt")


def model_identity(model: str, revision: str | None) -> dict[str, Any]:
    """`{"model", "revision"}`: a Hub id with its commit, or a folder's last component with `sha256:` of its files.

    Raises `UsageError` if the model is neither a folder nor known to the Hub (or its cache).
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return {"model": folder.resolve().name, "revision": f"sha256:{_folder_hash(folder)}"}
    return {"model": model, "revision": _commit(model, revision)}


def _folder_hash(folder: Path) -> str:
    total = hashlib.sha256()
    files = sorted({path for pattern in _PARTS for path in folder.glob(pattern)})
    if not files:
        raise UsageError("the folder holds no model", where=str(folder))
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return total.hexdigest()


def _commit(model: str, revision: str | None) -> str:
    """The commit of a Hub model: from the Hub, else from the local cache when the Hub cannot be reached."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return str(HfApi().model_info(model, revision=revision).sha)
    except HFValidationError as error:
        raise UsageError("is neither a folder nor a Hub model id", where=f"--model {model}") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        try:
            found = snapshot_download(model, revision=revision, local_files_only=True, allow_patterns=["config.json"])
        except (LocalEntryNotFoundError, OSError) as missing:
            reason = error.__class__.__name__
            raise UsageError(
                f"cannot be found on the Hub or in its cache ({reason})", where=f"--model {model}",
                hint="Check the id and --model-revision, or give a local folder",
            ) from missing  # fmt: skip
        return Path(found).name
