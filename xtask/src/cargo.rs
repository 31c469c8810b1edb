//! `cargo metadata`, reduced to what the checks ask for.

use crate::sys;
use anyhow::{Context, Result};
use serde_json::Value;

/// How one crate uses another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

/// One declared dependency.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// The name that the source uses (after renaming), with `-` as `_`.
    pub(crate) ident: String,
    /// The name of the package.
    pub(crate) package: String,
    pub(crate) kind: Kind,
    /// Whether it lives in this workspace.
    pub(crate) local: bool,
}

/// One package of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Folder relative to the root, with `/`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One package of the whole resolved tree.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
}

fn metadata(args: &[&str]) -> Result<Value> {
    let text = sys::output(
        sys::command("cargo").args(["metadata", "--format-version", "1", "--locked"]).args(args),
    )?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> Result<std::path::PathBuf> {
    Ok(text(&metadata(&["--no-deps"])?, "target_directory").into())
}

/// The packages of this workspace and what they declare.
pub(crate) fn workspace() -> Result<Vec<Package>> {
    let data = metadata(&["--no-deps"])?;
    let root = text(&data, "workspace_root");
    Ok(list(&data, "packages").iter().map(|package| package_of(package, &root)).collect())
}

fn package_of(package: &Value, root: &str) -> Package {
    let manifest = text(package, "manifest_path").replace('\\', "/");
    let folder = manifest
        .strip_prefix(&root.replace('\\', "/"))
        .unwrap_or(&manifest)
        .trim_start_matches('/')
        .trim_end_matches("Cargo.toml")
        .trim_end_matches('/')
        .to_owned();
    let dependencies = list(package, "dependencies").iter().map(dependency_of).collect();
    Package { name: text(package, "name"), folder, dependencies }
}

fn dependency_of(value: &Value) -> Dependency {
    let package = text(value, "name");
    let ident = value.get("rename").and_then(Value::as_str).unwrap_or(&package).replace('-', "_");
    let kind = match value.get("kind").and_then(Value::as_str) {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    Dependency { ident, package, kind, local: value.get("path").is_some_and(Value::is_string) }
}

/// Every package that some feature and platform of the workspace really resolves to.
pub(crate) fn resolved() -> Result<Vec<Resolved>> {
    let data = metadata(&[])?;
    let nodes: std::collections::HashSet<String> =
        list(&data["resolve"], "nodes").iter().map(|node| text(node, "id")).collect();
    Ok(list(&data, "packages")
        .iter()
        .filter(|package| nodes.contains(&text(package, "id")))
        .map(|package| Resolved {
            name: text(package, "name"),
            version: text(package, "version"),
            license: package.get("license").and_then(Value::as_str).map(str::to_owned),
        })
        .collect())
}
