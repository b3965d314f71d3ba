"""The bill of materials of the container image. script/container-check passes a directory with its files."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(sys.argv[1])
BILL = "/usr/local/share/twingrad/sbom.spdx.json"


def license_of(name):
    return f"/usr/share/doc/{name}/copyright"


bill = json.loads(Path(f"{ROOT}{BILL}").read_text())
assert bill["spdxVersion"] == "SPDX-2.3" and bill["dataLicense"] == "CC0-1.0", "not SPDX 2.3"
assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", bill["creationInfo"]["created"]), "no date"
packages = {package["SPDXID"]: package for package in bill["packages"]}
assert len(packages) == len(bill["packages"]), "an identifier is used twice"
for identifier, package in packages.items():
    assert re.fullmatch(r"SPDXRef-[a-zA-Z0-9.-]+", identifier), identifier
    assert package["name"] and package["versionInfo"] and package["downloadLocation"], package
assert packages["SPDXRef-twingrad"]["licenseDeclared"] == "MIT"

related = {"DESCRIBES": [], "CONTAINS": [], "DEPENDS_ON": []}
for relationship in bill["relationships"]:
    related[relationship["relationshipType"]].append(relationship["relatedSpdxElement"])
assert related["DESCRIBES"] == ["SPDXRef-image"], related["DESCRIBES"]
assert sorted(related["CONTAINS"] + ["SPDXRef-image"]) == sorted(packages), "the image contains all packages"
assert sorted(related["DEPENDS_ON"] + ["SPDXRef-twingrad"]) == sorted(related["CONTAINS"])

debian = [package for package in bill["packages"] if "externalRefs" in package]
files = []
for package in debian:
    pattern = r"pkg:deb/debian/[a-z0-9.%B-]+@[a-zA-Z0-9.%~_-]+\?arch=\w+&distro=debian-\w+"
    reference = package["externalRefs"][0]["referenceLocator"]
    assert re.fullmatch(pattern, reference), reference
    license, of_package = re.fullmatch("license: (.*); files: (.*)", package["comment"]).groups()
    assert license == license_of(package["name"]) and Path(f"{ROOT}{license}").read_text(errors="replace")
    files += of_package.split() if of_package != "compiled into twingrad" else []

# Every file belongs to one package, to twingrad or to the image.
assert len(files) == len(set(files)), "a file belongs to two packages"
own = {BILL, "/usr/local/bin/twingrad", "/etc/passwd", "/etc/group", "/etc/ld.so.cache"}
own |= {license_of(package["name"]) for package in [*debian, packages["SPDXRef-twingrad"]]}
replaced = packages["SPDXRef-twingrad"]["comment"].removeprefix("empty library: ")
own |= {replaced} if replaced and Path(f"{ROOT}{replaced}").stat().st_size < 20000 else set()
of_engine = re.compile(r"/(etc/(hosts|hostname|resolv.conf|mtab)|\.dockerenv|(dev|proc|sys|run)/.*)")
found = {str(path)[len(str(ROOT)):] for path in ROOT.rglob("*") if path.is_file() and not path.is_symlink()}
found = {path for path in found if not path.startswith("/usr/local/share/twingrad/recipes/")}
assert own <= found, own - found
unexplained = {path for path in found - own - set(files) if not of_engine.fullmatch(path)}
assert not unexplained, f"of no package: {unexplained}"
assert set(files) <= found, f"not in the image: {set(files) - found}"
assert sum("fashion-mnist" in path for path in files) == 4 and any("libtorch_cpu" in path for path in files)
print(f"{len(debian)} packages of Debian with {len(files)} files")
