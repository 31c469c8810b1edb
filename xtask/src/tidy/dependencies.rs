//! A dependency that no source names is compiled for nothing and audited for nothing.

use super::{Finding, Ground, sources};
use crate::cargo::Package;
use crate::tree::Tree;
use std::collections::BTreeSet;

pub(crate) fn unused(ground: &Ground) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        ground.packages.iter().flat_map(|package| unnamed(package, &ground.tree)).collect();
    if let Some(manifest) = ground.tree.get("Cargo.toml") {
        found.extend(undemanded(&manifest.text, &ground.packages));
    }
    found
}

/// Dependencies of one crate whose name its sources never say.
fn unnamed(package: &Package, tree: &Tree) -> Vec<Finding> {
    let prefix = format!("{}/", package.folder);
    let sources: Vec<&str> =
        tree.rust().filter(|file| file.path.starts_with(&prefix)).map(|file| file.text.as_str()).collect();
    let says = |ident: &str| {
        sources.iter().any(|text| {
            text.lines().any(|line| !line.trim_start().starts_with("//") && sources::has_word(line, ident))
        })
    };
    let manifest = format!("{prefix}Cargo.toml");
    let named: BTreeSet<&str> = package.dependencies.iter().map(|d| d.ident.as_str()).collect();
    named
        .into_iter()
        .filter(|ident| !says(ident))
        .map(|ident| {
            Finding::new(&manifest, 0, format!("`{ident}` is declared and never named in the sources"))
        })
        .collect()
}

/// Rows of `[workspace.dependencies]` that no crate asks for.
fn undemanded(manifest: &str, packages: &[Package]) -> Vec<Finding> {
    let used: BTreeSet<&str> =
        packages.iter().flat_map(|p| &p.dependencies).map(|d| d.package.as_str()).collect();
    let rows = manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.trim_start().starts_with('['));
    rows.filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
        .filter(|name| !name.is_empty() && !name.starts_with('#') && !used.contains(name))
        .map(|name| {
            Finding::new("Cargo.toml", 0, format!("no crate asks for the workspace dependency `{name}`"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::{Dependency, Kind};
    use crate::tree::File;

    fn package(names: &[&str]) -> Package {
        let dependency = |name: &&str| Dependency {
            ident: name.replace('-', "_"),
            package: (*name).to_owned(),
            kind: Kind::Normal,
            local: false,
        };
        Package {
            name: "a".to_owned(),
            folder: "crates/a".to_owned(),
            dependencies: names.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn a_dependency_named_only_in_a_comment_is_unused() {
        let text = "//! x\n// serde is not here\nuse futures_util::StreamExt;\n".to_owned();
        let tree = Tree { files: vec![File { path: "crates/a/src/lib.rs".to_owned(), text }] };
        let found = unnamed(&package(&["futures-util", "serde"]), &tree);
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|f| f.message.contains("`serde`")));
    }

    #[test]
    fn a_workspace_row_that_nobody_uses_is_found() {
        let manifest =
            "[workspace.dependencies]\n# why\nserde = \"1\"\nrand = \"0.9\"\n\n[profile.dev]\nlto = 1\n";
        let found = undemanded(manifest, &[package(&["serde"])]);
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|f| f.message.contains("`rand`")));
    }
}
