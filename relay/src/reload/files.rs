//! The files of a configuration: what is in them, and whether that is still so.
//!
//! Contents are compared, never times: a file that was touched has not changed, and one that was swapped behind a symlink
//! has. Only digests are kept. Not responsible for when to look (`watching`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::{self, Config, ConfigErrors, FileRead};

/// The configuration file, and every file that it named when it was read last.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    seen: Picture,
}

/// Digests of files; `None` for one that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Files {
    /// The files of `config` as they were when it was read; `None` when it was not read from a file.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let digests = config.digests.iter().map(|digest| Some(*digest));
        Some(Self {
            path: config.files.first()?.clone(),
            seen: Picture(config.files.iter().cloned().zip(digests).collect()),
        })
    }

    /// What is in the files now.
    pub(super) fn look(&self) -> Picture {
        let mut now = Picture::default();
        for path in self.seen.0.keys() {
            now.add(path, &config::read_file(path));
        }
        now
    }

    /// The files that are not what they were when they were read.
    pub(super) fn changed(&self, now: &Picture) -> Vec<&Path> {
        self.seen
            .0
            .iter()
            .filter(|(path, digest)| now.0.get(*path) != Some(digest))
            .map(|(path, _)| path.as_path())
            .collect()
    }

    /// Reads and judges the configuration. What is read is what later looks are compared with, good or not: a broken
    /// file is refused once, and looked at again when it changes. `None` when the files are not what they were in
    /// `before`: somebody is writing, and half a file may well be a good configuration.
    pub(super) fn load(&mut self, before: &Picture) -> Option<Result<Config, ConfigErrors>> {
        let mut read = Picture::default();
        let outcome = config::load_with(&self.path, &mut |path| {
            let file = config::read_file(path);
            read.add(path, &file);
            file
        });
        if !read.agrees(before) {
            return None;
        }
        self.seen = read;
        Some(outcome)
    }

    /// The directories in which a change of these files shows: those that they are named in, where a symlink is
    /// exchanged, and those that they are in.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        let mut directories = BTreeSet::new();
        for path in self.seen.0.keys() {
            let real = path.canonicalize().ok();
            for path in [Some(path.as_path()), real.as_deref()]
                .into_iter()
                .flatten()
            {
                let parent = match path.parent() {
                    Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                    Some(parent) => parent,
                    None => continue,
                };
                directories.insert(parent.canonicalize().unwrap_or_else(|_| parent.into()));
            }
        }
        directories
    }
}

impl Picture {
    /// Whether the files that are in both are the same.
    fn agrees(&self, other: &Self) -> bool {
        let both = |(path, digest): (&PathBuf, _)| other.0.get(path).is_none_or(|of| of == digest);
        self.0.iter().all(both)
    }

    fn add(&mut self, path: &Path, read: &io::Result<FileRead>) {
        let digest = read
            .as_ref()
            .ok()
            .map(|file| Sha256::digest(&file.bytes).into());
        self.0.insert(path.to_path_buf(), digest);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const CONFIG: &str = "realm = \"turn.example.org\"\n[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n\
                          [[secret]]\nid = \"a\"\nfile = \"secrets/a.key\"\n";

    fn directory(name: &str) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("taciturn-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("secrets")).unwrap();
        fs::write(directory.join("relay.toml"), CONFIG).unwrap();
        fs::write(
            directory.join("secrets/a.key"),
            "0123456789abcdef0123456789abcdef",
        )
        .unwrap();
        directory
    }

    #[test]
    fn a_touched_file_is_the_same_and_a_changed_one_is_named() {
        let directory = directory("reload-touched");
        let (path, key) = (
            directory.join("relay.toml"),
            directory.join("secrets/a.key"),
        );
        let mut files = Files::of(&config::load(&path).unwrap()).unwrap();
        assert_eq!(files.look(), files.seen);

        fs::write(&path, CONFIG).unwrap();
        assert_eq!(
            files.look(),
            files.seen,
            "written anew, with the same contents"
        );
        fs::write(&key, "another-secret-of-at-least-32-bytes").unwrap();
        let now = files.look();
        assert_ne!(now, files.seen);
        assert_eq!(files.changed(&now), [key.as_path()]);

        fs::remove_file(&key).unwrap();
        assert!(files.load(&files.look()).unwrap().is_err());
        assert_eq!(
            files.look(),
            files.seen,
            "a file that is not there is refused once"
        );
        fs::write(&key, "another-secret-of-at-least-32-bytes").unwrap();
        assert_eq!(files.changed(&files.look()), [key.as_path()]);
        let before = files.look();
        fs::write(&path, "").unwrap();
        assert!(files.load(&before).is_none(), "somebody is writing");
        fs::write(&path, CONFIG).unwrap();
        assert!(files.load(&before).unwrap().is_ok());
        fs::remove_dir_all(directory).unwrap();
    }

    /// Kubernetes and certbot exchange a symlink, and the file behind the name is another one.
    #[test]
    fn files_behind_symlinks_are_followed_to_where_they_are() {
        let directory = directory("reload-symlinks");
        fs::rename(directory.join("secrets"), directory.join("first")).unwrap();
        fs::create_dir(directory.join("second")).unwrap();
        fs::write(
            directory.join("second/a.key"),
            "another-secret-of-at-least-32-bytes",
        )
        .unwrap();
        symlink("first", directory.join("secrets")).unwrap();
        let files = Files::of(&config::load(&directory.join("relay.toml")).unwrap()).unwrap();
        let real = directory.canonicalize().unwrap();
        assert_eq!(
            files.directories().into_iter().collect::<Vec<_>>(),
            [real.clone(), real.join("first")]
        );

        symlink("second", directory.join("swap")).unwrap();
        fs::rename(directory.join("swap"), directory.join("secrets")).unwrap();
        assert_eq!(
            files.changed(&files.look()),
            [directory.join("secrets/a.key").as_path()]
        );
        fs::remove_dir_all(directory).unwrap();
    }
}
