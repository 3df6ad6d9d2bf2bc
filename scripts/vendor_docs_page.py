"""Renews the part of the page at `/docs` that is not ours: Swagger UI's released bundle, in `openapi/page/`.

`python -m scripts.vendor_docs_page` fetches the version named in `openapi/page/swagger-ui.lock.json` with the machine's
npm (`--version 5.36.0` takes another one, which is then locked), holds the package against npm's integrity value and
writes the files with the SHA-256 of each. Only this script needs Node and a registry: the mesh serves the files as they
lie there.
"""

import argparse
import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path("openapi/page")
LOCK: Final = "swagger-ui.lock.json"
PACKAGE: Final = "swagger-ui-dist"
# File of the package → file of ours.
FILES: Final = {
    "swagger-ui-bundle.js": "swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui.css",
    "LICENSE": "swagger-ui.LICENSE",
    "NOTICE": "swagger-ui.NOTICE",
    "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
}


class VendorError(Exception):
    """The package could not be had or is not what the registry said."""


def fetch(version: str) -> tuple[bytes, str]:
    """Returns the package as npm packs it and the registry's integrity value; raises VendorError."""
    wanted = f"{PACKAGE}@{version}"
    with tempfile.TemporaryDirectory() as folder:
        npm = ["npm", "pack", "--json", "--silent", "--pack-destination", folder, wanted]
        try:
            done = subprocess.run(npm, capture_output=True, text=True, check=True, cwd=folder)
        except FileNotFoundError as error:
            raise VendorError("npm is not on this machine (Debian package npm)") from error
        except subprocess.CalledProcessError as error:
            raise VendorError(f"npm could not fetch {wanted}: {error.stderr.strip()}") from error
        (packed,) = json.loads(done.stdout)
        content = Path(folder, packed["filename"]).read_bytes()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if integrity != packed["integrity"]:
        raise VendorError(f"{wanted} is not what the registry says: {integrity}, not {packed['integrity']}")
    return content, integrity


def unpack(package: bytes) -> dict[str, bytes]:
    """Returns the files that are kept, by our names; raises VendorError when the package lacks one."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        for theirs, ours in FILES.items():
            try:
                member = archive.extractfile(f"package/{theirs}")
            except KeyError as error:
                raise VendorError(f"{PACKAGE} has no file {theirs} any more") from error
            found[ours] = member.read() if member else b""
    return found


def lock_of(version: str, integrity: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Returns what the lock file says."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return {"package": PACKAGE, "version": version, "integrity": integrity, "license": "Apache-2.0", "sha256": hashes}


def differences(folder: Path) -> list[str]:
    """Returns one line for each file in `folder` that is missing or is not the locked one."""
    lock = json.loads((folder / LOCK).read_text(encoding="utf-8"))
    lines = [f"{name}: is not in the lock" for name in FILES.values() if name not in lock["sha256"]]
    for name, expected in lock["sha256"].items():
        file = folder / name
        if not file.is_file():
            lines.append(f"{name}: missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            lines.append(f"{name}: differs")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", help="the version to take; the locked one if missing")
    lock = FOLDER / LOCK
    version = parser.parse_args().version or json.loads(lock.read_text(encoding="utf-8"))["version"]
    try:
        package, integrity = fetch(version)
        files = unpack(package)
    except VendorError as error:
        print(error, file=sys.stderr)
        return 1
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    lock.write_text(json.dumps(lock_of(version, integrity, files), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
