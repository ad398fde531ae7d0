"""`.ci/release.py`: one version everywhere, a changelog that tells of it, the same sdist."""

from __future__ import annotations

import importlib.util
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def release() -> Any:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(release: Any, tmp_path: Path) -> Path:
    """All that a version stands in, ready for a release."""
    for path in ("pyproject.toml", *release.PLACES):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    own = release.version(tmp_path)
    changelog = f"# Changelog\n\n## [Unreleased]\n\n## [{own}] - 2026-12-31\n\n- Something.\n"
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    return tmp_path


def test_this_checkout_has_one_version(release: Any) -> None:
    assert [*release.faults(ROOT, None)] == []


def test_what_is_ready_is_let_through(release: Any, project: Path) -> None:
    own = release.version(project)
    assert [*release.faults(project, f"v{own}")] == []
    assert release.section(project, own) == ("2026-12-31", "- Something.")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2026-12-31", "unreleased", "dates"),
        ("- Something.", "", "says nothing"),
        ("## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- More.\n", "still has entries"),
        ("## [0.1.0]", "## [0.0.9]", "has no section"),
    ],
)
def test_a_changelog_that_is_not_ready(
    release: Any, project: Path, old: str, new: str, said: str
) -> None:
    changelog = project / "CHANGELOG.md"
    own = release.version(project)
    changelog.write_text(changelog.read_text().replace(old.replace("0.1.0", own), new))
    (fault,) = release.faults(project, f"v{own}")
    assert said in fault


def test_a_tag_of_another_version(release: Any, project: Path) -> None:
    (fault,) = release.faults(project, "v9.9.9")
    assert "the tag is v9.9.9" in fault


def test_each_place_is_looked_at(release: Any, project: Path) -> None:
    own = release.version(project)
    for path in release.PLACES:
        text = (project / path).read_text()
        (project / path).write_text(text.replace(own, "9.9.9"))
        (fault,) = release.faults(project, None)
        assert fault.startswith(f"{path} says 9.9.9")
        (project / path).write_text(text)


def test_an_sdist_is_the_same_wherever_it_is_made(release: Any, tmp_path: Path) -> None:
    made = []
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        sdist = tmp_path / f"{number}.tar.gz"
        with tarfile.open(sdist, "w:gz") as archive:
            for name in names:
                file = tmp_path / name
                file.write_text(name)
                file.chmod(0o600 + 0o44 * number)
                archive.add(file, f"p/{name}")
        release.steady(sdist, 315532800)
        made.append(sdist.read_bytes())
        with tarfile.open(sdist) as archive:
            read = {m.name: (archive.extractfile(m) or pytest.fail(m.name)).read() for m in archive}
        assert read == {"p/a": b"a", "p/b": b"b"}
    assert made[0] == made[1]
