//! The files that tidy reads: all text in the repository's folders, less what builds leave behind.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// One text file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is compiled for tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The first folder of the path.
    pub(crate) fn crate_folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

/// Folders that are not written by hand.
const SKIPPED: &[&str] = &[".git", "target", "fuzz/target", "fuzz/artifacts", "fuzz/corpus", "fuzz/coverage"];

/// Every text file, by path.
pub(crate) fn repository() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        let mut files = Vec::new();
        collect(root, "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(files.iter().any(|file| file.path == "Cargo.toml"), "tidy reads the wrong folder: {root:?}");
        files
    })
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the repository can be read") {
        let entry = entry.expect("the repository can be read");
        let path = format!("{prefix}{}", entry.file_name().display());
        let kind = entry.file_type().expect("the repository can be read");
        if SKIPPED.contains(&path.as_str()) || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}
