//! Folders with links, rules and trouble.

use super::*;
use std::os::unix::fs::symlink;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn sources(path: &Path) -> (Vec<String>, Vec<(String, Refusal)>) {
    let (finds, _) = find(path, 1000).unwrap();
    (finds.files.into_iter().map(|found| found.source).collect(), finds.refused)
}

#[test]
fn files_come_in_order_without_hidden_and_ignored_ones() {
    let at = folder(&[
        ("b.md", "b"),
        ("a/z.md", "z"),
        ("a/draft.md", "d"),
        ("a/deep/keep.tmp", "k"),
        ("x.tmp", "x"),
        ("old/o.md", "o"),
        (".git/config", "c"),
        (".hidden.md", "h"),
        (".portcullisignore", "*.tmp\n/old/\n"),
        ("a/.portcullisignore", "draft.md\n!keep.tmp\n"),
    ]);
    assert_eq!(sources(at.path()), (vec!["a/deep/keep.tmp".into(), "a/z.md".into(), "b.md".into()], vec![]));
}

#[test]
fn links_never_leave_the_root_and_never_go_in_circles() {
    let outside = folder(&[("secret.txt", "made up")]);
    let at = folder(&[("in/a.md", "a")]);
    symlink(outside.path().join("secret.txt"), at.path().join("leak.txt")).unwrap();
    symlink(outside.path(), at.path().join("leak")).unwrap();
    symlink(at.path(), at.path().join("in/up")).unwrap();
    symlink(at.path().join("in/a.md"), at.path().join("same.md")).unwrap();
    symlink(at.path().join("nothing"), at.path().join("broken")).unwrap();
    let (files, refused) = sources(at.path());
    assert_eq!(files, ["in/a.md", "same.md"]);
    let outside: Vec<&str> = refused
        .iter()
        .filter(|(_, why)| *why == Refusal::Outside)
        .map(|(source, _)| source.as_str())
        .collect();
    assert_eq!(outside, ["leak", "leak.txt"]);
    assert!(refused.iter().any(|(source, why)| source == "broken" && why.code() == "unreadable"));
}

#[test]
fn a_file_alone_is_found_under_its_folder() {
    let at = folder(&[("a.md", "a"), ("b.md", "b")]);
    let (finds, root) = find(&at.path().join("a.md"), 10).unwrap();
    assert_eq!((finds.files.len(), finds.files[0].source.as_str()), (1, "a.md"));
    assert_eq!(root, fs::canonicalize(at.path()).unwrap());
}

#[test]
fn too_many_files_are_refused_as_a_whole() {
    let at = folder(&[("a.md", "a"), ("b.md", "b"), ("c.md", "c")]);
    assert!(matches!(find(at.path(), 2), Err(FindError::TooMany { most: 2, .. })));
    assert!(matches!(find(&at.path().join("none"), 2), Err(FindError::Unreadable { .. })));
}

#[test]
fn what_is_too_large_or_changes_or_turns_into_a_link_is_not_read() {
    let at = folder(&[("a.md", "twelve bytes"), ("b.md", "b")]);
    let outside = folder(&[("secret.txt", "made up")]);
    let (finds, root) = find(at.path(), 10).unwrap();
    assert_eq!(read(&finds.files[0], &root, 12).unwrap(), b"twelve bytes");
    assert!(matches!(read(&finds.files[0], &root, 11), Err(Refusal::TooLarge(_))));
    fs::remove_file(at.path().join("b.md")).unwrap();
    symlink(outside.path().join("secret.txt"), at.path().join("b.md")).unwrap();
    assert_eq!(read(&finds.files[1], &root, 12), Err(Refusal::Outside));
    fs::remove_file(at.path().join("b.md")).unwrap();
    assert_eq!(read(&finds.files[1], &root, 12).unwrap_err().code(), "unreadable");
}

#[test]
fn a_file_that_somebody_writes_to_is_named_and_not_taken_half() {
    let at = folder(&[("a.md", "first half"), ("b.md", "b")]);
    let (finds, root) = find(at.path(), 10).unwrap();
    let longer = || fs::write(at.path().join("a.md"), "first half, second half").unwrap();
    assert_eq!(read_while(&finds.files[0], &root, 100, longer), Err(Refusal::Changed));
    let replaced = || {
        fs::write(at.path().join("new"), "c").unwrap();
        fs::rename(at.path().join("new"), at.path().join("b.md")).unwrap();
    };
    assert_eq!(read_while(&finds.files[1], &root, 100, replaced), Err(Refusal::Changed));
}

#[test]
fn a_fingerprint_changes_with_any_file() {
    let at = folder(&[("a.md", "a")]);
    let look = || fingerprint(&find(at.path(), 10).unwrap().0);
    let first = look();
    assert_eq!(look(), first);
    fs::write(at.path().join("b.md"), "b").unwrap();
    assert_ne!(look(), first);
}
