"""Where the files beside the code are: subset profiles and card templates, in a checkout and in an installed wheel.

The repository keeps them at its top level (`configs/`, `dataset_cards/`), where people look; the wheel carries them inside the
package. One function knows both places.
"""

from __future__ import annotations

from pathlib import Path


def resource_folder(name: str) -> Path:
    """The folder `configs` or `dataset_cards`. Raises `FileNotFoundError` if the installation lacks it."""
    package = Path(__file__).parent
    for folder in (package / "_resources" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the installation lacks {name}/: install arhn-hf again")
