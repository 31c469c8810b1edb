//! Which crate may use which. The table of the house in `ARCHITECTURE.md` is the law: this check reads it there,
//! so the document cannot drift from the code. A crate may also use what the crates it knows know.
//! `testkit` is for tests only; `xtask`, `bench` and `guard` stand outside the house.

use super::{Finding, Ground};
use crate::cargo::{Kind, Package};
use std::collections::{BTreeMap, BTreeSet};

const HOUSE: &str = "ARCHITECTURE.md";
const FREE: [&str; 3] = ["xtask", "bench", "guard"];
const TESTS_ONLY: &str = "crates/testkit";

/// Folder to the folders it knows; `None` stands for "all".
type House = BTreeMap<String, Option<BTreeSet<String>>>;

pub(crate) fn check(ground: &Ground) -> Vec<Finding> {
    let Some(file) = ground.tree.get(HOUSE) else {
        return vec![Finding::new(HOUSE, 0, "missing: the table of the house is read from it")];
    };
    violations(&house(&file.text), &ground.packages)
}

/// Reads the rows `| `crates/x` | purpose | knows |`.
fn house(text: &str) -> House {
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            let folder = cells.first()?.strip_prefix("`crates/")?.strip_suffix('`')?;
            let knows = (cells.len() >= 3).then(|| cells.last().copied().unwrap_or_default())?;
            Some((format!("crates/{folder}"), known(knows)))
        })
        .collect()
}

fn known(cell: &str) -> Option<BTreeSet<String>> {
    match cell {
        "all" => None,
        "nothing" => Some(BTreeSet::new()),
        list => {
            Some(list.split(',').map(|name| format!("crates/{}", name.trim().trim_matches('`'))).collect())
        }
    }
}

/// Everything reachable from `folder` along the arrows of the table.
fn reach(house: &House, folder: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        match house.get(&next) {
            Some(None) => return house.keys().filter(|k| *k != TESTS_ONLY).cloned().collect(),
            Some(Some(known)) => open.extend(known.iter().filter(|k| seen.insert((*k).clone())).cloned()),
            None => {}
        }
    }
    seen
}

fn violations(house: &House, packages: &[Package]) -> Vec<Finding> {
    let folders: BTreeMap<&str, &str> =
        packages.iter().map(|p| (p.name.as_str(), p.folder.as_str())).collect();
    let mut found = Vec::new();
    for folder in house.keys().filter(|folder| !folders.values().any(|f| *f == folder.as_str())) {
        found.push(Finding::new(HOUSE, 0, format!("the house names `{folder}`, which is no crate")));
    }
    for package in packages.iter().filter(|p| !FREE.contains(&p.folder.as_str())) {
        if !house.contains_key(&package.folder) {
            let message = format!("`{}` has no row in the house table of {HOUSE}", package.folder);
            found.push(Finding::new(&package.folder, 0, message));
            continue;
        }
        let may = reach(house, &package.folder);
        for dependency in package.dependencies.iter().filter(|d| d.local) {
            let target = folders.get(dependency.package.as_str()).copied().unwrap_or_default();
            let allowed = may.contains(target) || (target == TESTS_ONLY && dependency.kind == Kind::Dev);
            if !allowed {
                let message = format!(
                    "uses `{target}` ({:?}), which the house table does not allow; move the code, or change the \
                     design on purpose",
                    dependency.kind
                );
                found.push(Finding::new(&format!("{}/Cargo.toml", package.folder), 0, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::Dependency;

    const TABLE: &str = "| folder | purpose | knows |\n|---|---|---|\n| `crates/domain` | words | nothing |\n\
        | `crates/engine` | in | domain, inspect |\n| `crates/inspect` | score | domain |\n\
        | `crates/channels` | doors | engine |\n| `crates/runtime` | wiring | all |\n\
        | `crates/testkit` | doubles | domain |\n";

    fn package(name: &str, uses: &[(&str, Kind)]) -> Package {
        let dependencies = uses
            .iter()
            .map(|(to, kind)| Dependency {
                ident: (*to).to_owned(),
                package: (*to).to_owned(),
                kind: *kind,
                local: true,
            })
            .collect();
        Package { name: name.to_owned(), folder: format!("crates/{name}"), dependencies }
    }

    fn all_with(changed: Package) -> Vec<Finding> {
        let mut packages: Vec<Package> = ["domain", "engine", "inspect", "channels", "runtime", "testkit"]
            .iter()
            .map(|name| package(name, &[]))
            .collect();
        packages.retain(|p| p.name != changed.name);
        packages.push(changed);
        violations(&house(TABLE), &packages)
    }

    #[test]
    fn a_crate_may_use_what_the_crates_it_knows_know() {
        assert_eq!(all_with(package("channels", &[("inspect", Kind::Normal)])), vec![]);
        assert_eq!(all_with(package("runtime", &[("channels", Kind::Normal)])), vec![]);
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found() {
        assert_eq!(all_with(package("domain", &[("engine", Kind::Normal)])).len(), 1);
        assert_eq!(all_with(package("inspect", &[("channels", Kind::Dev)])).len(), 1);
    }

    #[test]
    fn testkit_is_for_tests_only() {
        assert_eq!(all_with(package("engine", &[("testkit", Kind::Dev)])), vec![]);
        assert_eq!(all_with(package("engine", &[("testkit", Kind::Normal)])).len(), 1);
        assert_eq!(all_with(package("runtime", &[("testkit", Kind::Normal)])).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
        assert_eq!(all_with(package("attic", &[])).len(), 1);
        assert_eq!(violations(&house(TABLE), &[]).len(), 6);
    }
}
