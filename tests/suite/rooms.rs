//! The order of the modules: imports go downwards, by module path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Every module of src/, from the bottom up. A module may only import those before it.
const ROOMS: [&str; 35] = [
    // The vocabulary of the crate.
    "blocking",
    "error",
    "memory",
    "real",
    "tensor",
    "as_view",
    "precision",
    "strategy",
    "mode",
    "options",
    "dropout",
    "activation",
    "cell_kind",
    "form",
    "config",
    "extents",
    "call",
    "packed",
    // Files, in their own terms.
    "formats",
    // Descriptions of models, and of the work of a device.
    "weights",
    "gradients",
    "plan",
    // The backends.
    "cpu",
    "gpu",
    "shaders",
    "device",
    // Models on a device.
    "results",
    "model",
    "session",
    "pass",
    // The public API.
    "request",
    "layer",
    "cell",
    "optim",
    // Files, as layers.
    "source",
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Returns the names that follow `crate::` in the code of a file, except names in braces.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    code.flat_map(|line| line.split("crate::").skip(1).map(name).collect::<Vec<String>>()).collect()
}

#[test]
fn imports_go_by_module_and_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rank: HashMap<&str, usize> = ROOMS.iter().enumerate().map(|(rank, &room)| (room, rank)).collect();
    let mut seen = Vec::new();
    for file in rust_files(&src) {
        let path = file.strip_prefix(&src).unwrap();
        let room = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "lib" {
            continue;
        }
        let own = *rank.get(room.as_str()).unwrap_or_else(|| panic!("{room} is missing from the order of the modules"));
        let is_test =
            path.iter().any(|part| ["tests", "tests.rs", "bits.rs", "effects.rs"].iter().any(|test| part == *test));
        let text = std::fs::read_to_string(&file).unwrap();
        // A module's own tests may use modules above it.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for import in imports(text) {
            match rank.get(import.as_str()) {
                None => panic!("{}: crate::{import} is imported through the root of the crate", path.display()),
                Some(&other) if other > own && !is_test => panic!("{}: {room} imports {import}", path.display()),
                Some(_) => {}
            }
        }
        seen.push(room);
    }
    let unused: Vec<_> = ROOMS.iter().filter(|room| !seen.iter().any(|seen| seen == *room)).collect();
    assert!(unused.is_empty(), "{unused:?} are not modules");
}
