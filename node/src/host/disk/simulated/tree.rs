//! The names on a disk: its folders, and what is in each.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    /// The number of its content.
    File(usize),
}

/// Folders by their path, each with its names. Clones share the folders that neither of them changes: a disk is copied often.
///
/// Keys are compared byte by byte, which is much faster than path by path.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(BTreeMap<OsString, Arc<BTreeMap<OsString, Node>>>);

impl Tree {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        let Some((folder, name)) = split(path) else { return Some(Node::Folder) };
        self.0.get(folder)?.get(name).copied()
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.get(path).is_some()
    }

    /// The names in a folder.
    pub(super) fn list(&self, folder: &Path) -> Vec<OsString> {
        self.0.get(folder.as_os_str()).map(|names| names.keys().cloned().collect()).unwrap_or_default()
    }

    /// All files, and their contents' numbers.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, usize)> {
        self.0.iter().flat_map(|(folder, names)| {
            names.iter().filter_map(move |(name, node)| match node {
                Node::File(file) => Some((Path::new(folder).join(name), *file)),
                Node::Folder => None,
            })
        })
    }

    pub(super) fn insert(&mut self, path: &Path, node: Node) {
        if let Some((folder, name)) = split(path) {
            Arc::make_mut(self.0.entry(folder.to_owned()).or_default()).insert(name.to_owned(), node);
        }
    }

    /// Creates a folder and those above it, where they are missing.
    pub(super) fn create_folder(&mut self, path: &Path) {
        if let (false, Some(above)) = (self.has(path), path.parent()) {
            self.create_folder(above);
            self.insert(path, Node::Folder);
        }
    }

    pub(super) fn remove(&mut self, path: &Path) {
        if let Some((folder, name)) = split(path)
            && let Some(names) = self.0.get_mut(folder)
        {
            Arc::make_mut(names).remove(name);
        }
    }

    /// Removes a file, or a folder with its content.
    pub(super) fn remove_all(&mut self, path: &Path) {
        self.remove(path);
        self.0.retain(|folder, _| !Path::new(folder).starts_with(path));
    }

    /// Makes the names in a folder those of another tree.
    pub(super) fn take_folder(&mut self, folder: &Path, from: &Self) {
        match from.0.get(folder.as_os_str()) {
            Some(names) => self.0.insert(folder.into(), names.clone()),
            None => self.0.remove(folder.as_os_str()),
        };
    }

    /// Replaces each file's number, or removes the file.
    pub(super) fn map_files(&self, mut change: impl FnMut(&Path, usize) -> Option<usize>) -> Self {
        let mut mapped = Self::default();
        for (folder, names) in &self.0 {
            let mut kept = BTreeMap::new();
            for (name, node) in names.iter() {
                let node = match node {
                    Node::Folder => Some(Node::Folder),
                    Node::File(file) => change(&Path::new(folder).join(name), *file).map(Node::File),
                };
                kept.extend(node.map(|node| (name.clone(), node)));
            }
            mapped.0.insert(folder.clone(), Arc::new(kept));
        }
        mapped
    }

    /// Only the folders whose names are in the folders above them, up to the root.
    pub(super) fn reachable(&self) -> Self {
        let mut kept = Self::default();
        // a folder comes before those in it
        for (folder, names) in &self.0 {
            if kept.get(Path::new(folder)) == Some(Node::Folder) {
                kept.0.insert(folder.clone(), names.clone());
            }
        }
        kept
    }
}

/// A path's folder and name; `None` for the root.
fn split(path: &Path) -> Option<(&OsStr, &OsStr)> {
    Some((path.parent()?.as_os_str(), path.file_name()?))
}
