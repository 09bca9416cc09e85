//! The map of crates: who may depend on whom, and what the pure ones are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::room::workspace;

/// The arrows between our crates: each may name these, and whatever these may.
///
/// `nearcast-e2e` looks at everything from outside and is not on the map.
const ARROWS: [(&str, &[&str]); 17] = [
    ("nearcast-units", &[]),
    ("nearcast-protocol", &["nearcast-units"]),
    ("nearcast-manifest", &["nearcast-protocol"]),
    ("nearcast-core", &["nearcast-protocol"]),
    ("nearcast-net", &["nearcast-units"]),
    ("nearcast-media", &["nearcast-units"]),
    (
        "nearcast-player",
        &[
            "nearcast-core",
            "nearcast-net",
            "nearcast-media",
            "nearcast-manifest",
        ],
    ),
    ("nearcast-link", &["nearcast-units"]),
    ("nearcast-appliance", &["nearcast-protocol"]),
    ("nearcast-title", &["nearcast-units"]),
    (
        "nearcast-edge-server",
        &["nearcast-link", "nearcast-appliance"],
    ),
    ("nearcast-backend-model", &["nearcast-protocol"]),
    (
        "nearcast-backend-server",
        &["nearcast-backend-model", "nearcast-appliance"],
    ),
    (
        "nearcast-cli",
        &[
            "nearcast-player",
            "nearcast-title",
            "nearcast-edge-server",
            "nearcast-backend-server",
        ],
    ),
    (
        "nearcast-sim",
        &[
            "nearcast-core",
            "nearcast-manifest",
            "nearcast-scenario",
            "nearcast-backend-model",
        ],
    ),
    (
        "nearcast-scenario",
        &["nearcast-link", "nearcast-appliance"],
    ),
    (
        "nearcast-lab",
        &[
            "nearcast-sim",
            "nearcast-player",
            "nearcast-edge-server",
            "nearcast-backend-server",
        ],
    ),
];

/// No standard library: a clock, a socket, a thread or a hash map does not compile there.
const PURE: [&str; 6] = [
    "nearcast-units",
    "nearcast-protocol",
    "nearcast-core",
    "nearcast-link",
    "nearcast-appliance",
    "nearcast-backend-model",
];

/// Everything that the decisions are built from; what macros need to run in the compiler is beside it.
const CORE_CLOSURE: [&str; 12] = [
    "libm",
    "nearcast-core",
    "nearcast-protocol",
    "nearcast-units",
    "proc-macro2",
    "quote",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
];
/// Part of `proc-macro2` and `syn`.
const IDENTIFIERS: &str = "unicode-ident";

/// Other crypto than ring, whoever asks for it.
const BANNED: [&str; 8] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "aws-lc-fips-sys",
    "boring",
    "boring-sys",
    "native-tls",
    "openssl",
    "openssl-sys",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .other_options([
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            host(),
        ])
        .exec()
        .unwrap()
}

/// Returns the platform that this runs on; crates of others may not have been downloaded.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc)
        .arg("-vV")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap()
        .to_owned()
}

/// Returns the folder of a package, relative to the workspace.
fn folder(package: &Package) -> PathBuf {
    let folder = package.manifest_path.parent().unwrap().as_std_path();
    folder
        .strip_prefix(workspace().canonicalize().unwrap())
        .unwrap_or(folder)
        .to_owned()
}

/// Returns what a crate may name by the map: all that can be reached along arrows.
fn reachable(from: &str) -> BTreeSet<&'static str> {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<&'static str> = arrows.get(from).copied().unwrap_or_default().to_vec();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(arrows[name]);
        }
    }
    found
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mapped: BTreeSet<&str> = ARROWS
        .iter()
        .map(|(name, _)| *name)
        .chain(["nearcast-e2e"])
        .collect();
    assert_eq!(ours, mapped, "the map names every crate, and no other");

    for package in metadata.workspace_packages() {
        if package.name == "nearcast-e2e" {
            continue;
        }
        let allowed = reachable(package.name.as_str());
        // Normal, build and dev-dependencies alike.
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| ours.contains(dependency.name.as_str()))
        {
            assert!(
                allowed.contains(dependency.name.as_str()),
                "{} must not depend on {} ({:?})",
                package.name,
                dependency.name,
                dependency.kind
            );
        }
    }
}

#[test]
fn the_sdk_depends_on_nothing_outside_sdk() {
    let metadata = metadata();
    let folders: BTreeMap<&str, PathBuf> = metadata
        .workspace_packages()
        .iter()
        .map(|package| (package.name.as_str(), folder(package)))
        .collect();
    let mut looked_at = 0;
    for package in metadata.workspace_packages() {
        if !folders[package.name.as_str()].starts_with("sdk") {
            continue;
        }
        looked_at += 1;
        for dependency in &package.dependencies {
            if let Some(place) = folders.get(dependency.name.as_str()) {
                assert!(
                    place.starts_with("sdk"),
                    "{} depends on {} ({:?})",
                    package.name,
                    place.display(),
                    dependency.kind
                );
            }
        }
    }
    assert_eq!(
        looked_at, 7,
        "units, protocol, manifest, core, net, media, player"
    );
}

#[test]
fn the_core_is_made_of_little() {
    // As who takes the core alone gets it: features that tests ask for are none of it.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--package", "nearcast-core"])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let closure: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    let expected: BTreeSet<&str> = CORE_CLOSURE.into_iter().chain([IDENTIFIERS]).collect();
    assert_eq!(closure, expected);
}

#[test]
fn pure_crates_have_no_standard_library() {
    let metadata = metadata();
    for name in PURE {
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name == name)
            .unwrap();
        let root = package.manifest_path.parent().unwrap().join("src/lib.rs");
        let text = fs::read_to_string(&root).unwrap();
        assert!(
            text.lines().any(|line| line.trim() == "#![no_std]"),
            "{root} does not say #![no_std]"
        );
    }
}

#[test]
fn there_is_one_crypto_provider() {
    let text = fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let locked: toml::Table = text.parse().unwrap();
    let names: BTreeSet<&str> = locked["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert!(names.contains("ring") && names.contains("rustls"));
    for banned in BANNED {
        assert!(
            !names.contains(banned),
            "Cargo.lock names {banned}: `cargo tree -i {banned}` says why"
        );
    }
}

#[test]
fn every_crate_has_the_lints_and_the_edition_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let manifest: toml::Table = fs::read_to_string(&package.manifest_path)
            .unwrap()
            .parse()
            .unwrap();
        let inherits = |table: &str, key: &str| {
            let value = manifest.get(table).and_then(|table| table.get(key));
            // Either `[lints] workspace = true` or `edition.workspace = true`.
            value.and_then(|value| {
                value
                    .as_bool()
                    .or_else(|| value.get("workspace")?.as_bool())
            })
        };
        assert_eq!(
            inherits("lints", "workspace"),
            Some(true),
            "{}: lints",
            package.name
        );
        for key in ["edition", "rust-version", "version", "license", "publish"] {
            assert_eq!(
                inherits("package", key),
                Some(true),
                "{}: {key}",
                package.name
            );
        }
    }
}
