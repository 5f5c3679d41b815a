# SPDX-License-Identifier: Apache-2.0
"""Nothing is taken from the cache that was not put there, and no link is followed."""

from pathlib import Path

import pytest

from sim.cache import CacheError, cache_folder, in_cache, kept, read


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MAKALU_CACHE", str(folder))
    return folder


def make(path: Path) -> dict:
    path.write_bytes(b"made")
    return {"lines": 3}


def refuse(path: Path) -> dict:
    pytest.fail("it is made again")


def test_made_once(cache):
    assert cache_folder() == cache and not in_cache("sim", "a.so")
    path, facts = kept("sim", "a.so", make)
    assert (read(path), facts) == (b"made", {"lines": 3}) and in_cache("sim", "a.so")
    assert kept("sim", "a.so", refuse) == (path, facts)
    assert {p.name for p in path.parent.iterdir()} == {"a.so", "a.so.json", "a.lock"}
    assert cache.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name,data", [
    ("a.so", b"planted"), ("a.so.json", b"{"), ("a.so.json", b"[" * 100_000),
    ("a.so.json", b"3"), ("a.so.json", b'{"sha256": "0", "facts": {}}'), ("a.so.json", b"")])
def test_what_was_changed_is_made_again(capsys, name, data):
    path, facts = kept("sim", "a.so", make)
    (path.parent / name).write_bytes(data)
    assert not in_cache("sim", "a.so")
    assert kept("sim", "a.so", make) == (path, facts) and read(path) == b"made"
    assert "a.so is not what was kept there, making it again" in capsys.readouterr().err


def test_a_file_alone_is_not_taken(cache):
    (cache / "sim").mkdir(mode=0o700, parents=True)
    (cache / "sim" / "a.so").write_bytes(b"planted")
    assert read(kept("sim", "a.so", make)[0]) == b"made"


@pytest.mark.parametrize("name", ["a.so", "a.so.json"])
def test_links_are_replaced(tmp_path, name):
    path, _ = kept("sim", "a.so", make)
    target = tmp_path / "target"
    (path.parent / name).rename(target)
    was = target.read_bytes()
    (path.parent / name).symlink_to(target)
    assert not in_cache("sim", "a.so")
    kept("sim", "a.so", make)
    assert not (path.parent / name).is_symlink() and target.read_bytes() == was


def test_a_linked_lock_is_refused(cache, tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (cache / "sim").mkdir(mode=0o700, parents=True)
    (cache / "sim" / "a.lock").symlink_to(target)
    with pytest.raises(CacheError, match="a.lock' cannot be taken .*: remove it, or name another"):
        kept("sim", "a.so", make)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("inner", ["", "sim"])
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write(cache, inner, mode):
    path, _ = kept("sim", "a.so", make)
    (cache / inner).chmod(mode)
    with pytest.raises(CacheError, match="others can write to the cache folder .*: chmod go-w it.*"
                                         "or name another cache folder .*MAKALU_CACHE"):
        kept("sim", "a.so", refuse)
    (cache / inner).chmod(0o755)
    assert kept("sim", "a.so", refuse)[0] == path


def test_a_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match="cannot be made .Not a directory.: name .*MAKALU_CACHE"):
        kept("sim", "a.so", make)


def test_what_cannot_be_made_leaves_nothing(cache):
    def fail(path: Path) -> dict:
        path.write_bytes(b"half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        kept("sim", "a.so", fail)
    assert [p.name for p in (cache / "sim").iterdir()] == ["a.lock"]
