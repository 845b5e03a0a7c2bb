"""Which file systems count as network ones, from mount tables as machines have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from arhn_hf.filesystems import network_type

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
filer:/export/home /home nfs4 rw,vers=4.2,hard 0 0
10.0.0.1@tcp:/scratch /scratch lustre rw,flock 0 0
/dev/nvme0n1 /scratch/local xfs rw 0 0
me@host:/x /mnt/my\\040disk fuse.sshfs rw 0 0
//server/share /mnt/share cifs rw 0 0
/dev/sdb1 /over ext4 rw 0 0
filer:/over /over nfs rw 0 0
fs1 /gpfs/fs1 gpfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None), ("/srv/x", None), ("/home", "nfs4"), ("/home/me/out/.arhn", "nfs4"), ("/homes/me", None),
        ("/scratch/me", "lustre"), ("/scratch/local/me", None), ("/mnt/my disk/x", "fuse.sshfs"), ("/mnt/share", "cifs"),
        ("/over/x", "nfs"), ("/gpfs/fs1/x", "gpfs"),
    ],
)  # fmt: skip
def test_the_innermost_and_latest_mount_decides(path: str, kind: str | None) -> None:
    assert network_type(Path(path), MOUNTS) == kind


def test_the_table_of_this_machine_is_read(tmp_path: Path) -> None:
    table = Path("/proc/self/mounts")
    if not table.exists():
        pytest.skip("this system has no mount table")
    assert network_type(tmp_path) == network_type(tmp_path, table.read_text())
    assert network_type(Path("/proc")) is None
