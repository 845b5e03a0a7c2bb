"""On which kind of file system a path lies: a store on a network one has traps that a person should hear of beforehand."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fhgfs", "fuse.beegfs", "fuse.blobfuse", "fuse.ceph", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs",
})  # fmt: skip
_MOUNTS = Path("/proc/self/mounts")


def network_type(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that holds `path`; `None` for a local one, and where it cannot be told.

    `mounts` is a table as in `/proc/self/mounts`, which is read where none is given; other systems have none.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    place, best, found = path.resolve(), 0, None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1]))
        depth = len(point.parts)
        if place.is_relative_to(point) and depth >= best:  # of two on one point the later one hides the other
            best, found = depth, fields[2]
    return found if found in NETWORK else None
