"""Git by the real program: what is read, what is refused, whose signatures count, and that nothing in a repository runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.sources import git

from .repositories import Repo, allowed, deny, needs_git, needs_gpg, needs_ssh_keygen, signing, ssh_key

pytestmark = needs_git


def repository(url: str, folder: Path, **options: float) -> git.Repository:
    return git.Repository(url, folder / "copy.git", **options)


@pytest.mark.parametrize("url", ["path", "file://", "bare"])
def test_files_of_a_branch_a_tag_and_a_commit(tmp_path: Path, url: str) -> None:
    repo = Repo(tmp_path / "r")
    first = repo.commit({"a/x.yaml": deny("x"), "b.bin": "\r\n\0", "ünïcode name\t.yaml": "1"})
    repo.git("tag", "-a", "v1", "-m", "v1")
    second = repo.commit({"a/x.yaml": None, "a/y.yaml": "2"})
    repo.git("branch", "feature/z")
    repo.git("clone", "-q", "--bare", str(repo.folder), str(tmp_path / "bare.git"))
    address = {"path": str(repo.folder), "file://": repo.url, "bare": str(tmp_path / "bare.git")}[url]
    here = repository(address, tmp_path)
    for ref, commit in {"main": second, "v1": first, "HEAD": second, "feature/z": second, "refs/heads/main": second}.items():
        revision = here.fetch(ref)
        assert (revision.commit, revision.author, revision.subject) == (commit, "Ada <ada@example.com>", "policies"), ref
        assert revision.committed == 1_700_000_000
    assert here.fetch(second).commit == second
    assert here.fetch("v1").commit == first
    files = here.files(first)
    assert set(files) == {"a/x.yaml", "b.bin", "ünïcode name\t.yaml"}
    assert here.read(files.values()) == [
        (deny("x") if n == "a/x.yaml" else b"\r\n\0".decode() if n == "b.bin" else "1").encode() for n in files
    ]
    assert here.read([]) == []


def test_links_and_submodules_are_no_files(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    (repo.folder / "link.yaml").symlink_to("/etc/passwd")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    commit = repo.commit({"x.yaml": "1", "run.yaml": "2"})
    here = repository(repo.url, tmp_path)
    here.fetch("main")
    assert set(here.files(commit)) == {"x.yaml", "run.yaml"}


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c 'touch owned'", "ext::touch%20owned", "fd::7", "--upload-pack=touch owned", "-x", "", "a b", "ssh://-oProxyCommand=x/y",
     "https://u:secret@git.example/p.git", "gopher://x/y", "javascript:alert(1)::x", "http://[::1/x", "ssh://-l@host/y", "x\ny"],
)  # fmt: skip
def test_addresses_that_could_run_something_are_refused(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(git.GitError) as told:
        repository(url, tmp_path).fetch("main")
    assert "secret" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "ref",
    [
        "--upload-pack=touch owned",
        "-f",
        "a..b",
        "main:refs/heads/x",
        "+main",
        "a b",
        "",
        "x" * 300,
        "a^{tree}",
        "@{-1}",
        "main\n",
    ],
)
def test_refs_that_are_none_are_refused(tmp_path: Path, ref: str) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"x.yaml": "1"})
    with pytest.raises(git.GitError, match="not a branch"):
        repository(repo.url, tmp_path).fetch(ref)


@given(st.text(max_size=40))
def test_no_checked_ref_is_an_option_or_a_refspec(ref: str) -> None:
    try:
        git.checked_ref(ref)
    except git.GitError:
        return
    assert not ref.startswith(("-", "+", ":", "/"))
    assert not set(ref) & set(" :^~?*[\\\n\t@{")


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"x.yaml": "1"})
    with pytest.raises(git.GitError, match=r"^`file://.*/r` has no branch or tag `nope`$"):
        repository(repo.url, tmp_path).fetch("nope")
    with pytest.raises(git.GitError, match=r"^git fetch: .*none.git") as told:
        git.Repository(str(tmp_path / "none.git"), tmp_path / "c2").fetch("main")
    assert "\n" not in str(told.value)


def test_a_user_in_an_address_is_in_no_message(tmp_path: Path) -> None:
    with pytest.raises(git.GitError) as told:
        repository("http://s3cr3t@127.0.0.1:1/p.git", tmp_path).fetch("main")
    assert "s3cr3t" not in str(told.value)
    assert "127.0.0.1" in str(told.value)


def test_hooks_and_configuration_of_the_environment_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = Repo(tmp_path / "r")
    commit = repo.commit({"x.yaml": "1"})
    here = repository(repo.url, tmp_path)
    here.fetch("main")
    hook = tmp_path / "copy.git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "owned"))
    assert here.fetch("main").commit == commit
    assert not (tmp_path / "owned").exists()


def test_a_repository_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        here = repository(f"git://127.0.0.1:{silent.getsockname()[1]}/p.git", tmp_path, timeout=0.5)
        with pytest.raises(git.GitError, match=r"git fetch did not end within 0\.5 s"):
            here.fetch("main")


def test_without_git_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(git.GitError, match="`git` is not installed; install it"):
        repository("https://git.example/p.git", tmp_path).fetch("main")
    assert git.work_tree(tmp_path) is None


@needs_ssh_keygen
def test_ssh_signatures(tmp_path: Path) -> None:
    ada, eve = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
    signers = git.Signers(allowed=allowed(tmp_path, ada=ada))
    repo = Repo(tmp_path / "r")
    good = repo.commit({"x.yaml": "1"}, config=signing(ada), sign=True)
    foreign = repo.commit({"x.yaml": "2"}, config=signing(eve), sign=True)
    plain = repo.commit({"x.yaml": "3"})
    here = repository(repo.url, tmp_path)
    for commit in (good, foreign, plain):
        here.fetch(commit)
    assert here.verify(good, signers).startswith("ada@example.com SHA256:")
    with pytest.raises(git.GitError, match="the key is not among the accepted ones"):
        here.verify(foreign, signers)
    with pytest.raises(git.GitError, match="it is not signed"):
        here.verify(plain, signers)
    with pytest.raises(git.GitError, match="no accepted signature"):
        here.verify(good, git.Signers(keyring=tmp_path))  # OpenPGP is asked for: an SSH key does not pass
    with pytest.raises(git.GitError, match="no accepted signature"):
        here.verify(good, git.Signers(allowed=tmp_path / "none"))


@needs_ssh_keygen
def test_a_commit_that_was_changed_after_signing_is_refused(tmp_path: Path) -> None:
    ada = ssh_key(tmp_path, "ada")
    repo = Repo(tmp_path / "r")
    repo.commit({"x.yaml": "1"}, config=signing(ada), sign=True)
    text = repo.git("cat-file", "commit", "HEAD") + "\n"
    forged = tmp_path / "forged"
    forged.write_text(text.replace("policies", "nonsense"))
    made = repo.git("hash-object", "-t", "commit", "-w", str(forged))
    repo.git("update-ref", "refs/heads/main", made)
    here = repository(repo.url, tmp_path)
    here.fetch("main")
    with pytest.raises(git.GitError, match="no accepted signature"):
        here.verify(made, git.Signers(allowed=allowed(tmp_path, ada=ada)))


@needs_gpg
def test_openpgp_signatures_of_the_keyring_and_of_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = tmp_path / "g", tmp_path / "o"
    for folder in (home, other):
        folder.mkdir(mode=0o700)
    make = ["gpg", "--batch", "-q", "--homedir", str(home), "--passphrase", "", "--pinentry-mode", "loopback"]
    done = subprocess.run([*make, "--quick-gen-key", "ada@example.com", "ed25519", "sign"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"gpg makes no key here: {done.stderr.decode(errors='replace')[:200]}")
    try:
        repo = Repo(tmp_path / "r")
        commit = repo.commit({"x.yaml": "1"}, config=("user.signingkey=ada@example.com",), sign=True, GNUPGHOME=str(home))
        here = repository(repo.url, tmp_path)
        here.fetch("main")
        assert here.verify(commit, git.Signers(keyring=home)).startswith("ada@example.com ")
        with pytest.raises(git.GitError, match="the key is not among the accepted ones"):
            here.verify(commit, git.Signers(keyring=other))
        monkeypatch.setenv("GNUPGHOME", str(home))  # the keys of whoever runs us accept nothing by themselves
        with pytest.raises(git.GitError, match="no accepted signature"):
            here.verify(commit, git.Signers(allowed=Path(os.devnull)))
    finally:
        for folder in (home, other):
            subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False, capture_output=True)


def test_a_work_tree_says_commit_author_and_changes(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    commit = repo.commit({"p/x.yaml": "1", "other": "1"})
    repo.git("remote", "add", "origin", "https://token@git.example/team/p.git")
    tree = git.work_tree(repo.folder / "p")
    assert tree is not None
    assert (tree.source, tree.path, tree.revision.commit, tree.changed) == ("https://git.example/team/p.git", "p", commit, False)
    (repo.folder / "other").write_text("2")
    assert git.work_tree(repo.folder / "p").changed is False  # not at the path
    (repo.folder / "p" / "new.yaml").write_text("2")
    assert git.work_tree(repo.folder / "p").changed is True
    assert git.work_tree(repo.folder / "p" / "x.yaml").changed is False
    assert git.work_tree(repo.folder).path == ""
    (tmp_path / "plain").mkdir()
    assert git.work_tree(tmp_path / "plain") is None


def test_the_copy_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "MAX_PACKS", 2)
    repo = Repo(tmp_path / "r")
    here = repository(repo.url, tmp_path)
    for number in range(6):
        commit = repo.commit({"x.yaml": str(number)})
        assert here.read(here.files(here.fetch("main").commit).values()) == [str(number).encode()], commit
        assert len(list((tmp_path / "copy.git" / "objects" / "pack").glob("*.pack"))) <= 3
