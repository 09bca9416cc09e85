//! Where every object of a manifest lies.

use std::collections::BTreeMap;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey};

use crate::address::{Base, ByteRange, Location, Target};
use crate::template::Template;
use crate::timeline::TickClock;

/// Where every object of a manifest lies; joined to the outline by [`ObjectKey`].
#[derive(Clone, Debug)]
pub struct Locations {
    manifest: Location,
    places: BTreeMap<RepresentationKey, Place>,
}

/// Where the objects of one representation lie.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) init: Option<Location>,
    pub(crate) index: Option<IndexPlace>,
    pub(crate) media: MediaPlace,
}

/// Where segments are learnt from.
#[derive(Clone, Debug)]
pub(crate) enum IndexPlace {
    /// An HLS media playlist.
    Playlist(Base),
    /// A `sidx` box in the file that also holds the media.
    Sidx {
        file: Target,
        range: ByteRange,
        clock: TickClock,
    },
}

/// Where media segments lie, by index.
#[derive(Clone, Debug)]
pub(crate) enum MediaPlace {
    /// Not known before the index is loaded.
    Unknown,
    /// By a template, filled in when asked for.
    Template {
        base: Base,
        template: Template,
        arguments: Vec<Arguments>,
    },
    /// File by file; neighbours share an entry in `files`.
    Listed {
        files: Vec<Target>,
        entries: Vec<(u32, Option<ByteRange>)>,
    },
}

/// What a template is filled in with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    pub(crate) number: u64,
    /// In ticks, opaque.
    pub(crate) time: u64,
}

impl Locations {
    pub(crate) fn new(manifest: &Base) -> Self {
        Self {
            manifest: whole(manifest.target()),
            places: BTreeMap::new(),
        }
    }

    pub(crate) fn insert(&mut self, key: RepresentationKey, place: Place) {
        self.places.insert(key, place);
    }

    pub(crate) fn place(&self, key: RepresentationKey) -> Option<&Place> {
        self.places.get(&key)
    }

    /// Returns where an object lies. `None` when there is no such object, for media whose index is not
    /// loaded yet, and for [`ObjectKey::Probe`], which is whatever the prober chooses.
    #[must_use]
    pub fn locate(&self, object: ObjectKey) -> Option<Location> {
        match object {
            ObjectKey::Manifest => Some(self.manifest.clone()),
            ObjectKey::Probe => None,
            ObjectKey::Index(key) => Some(match self.places.get(&key)?.index.as_ref()? {
                IndexPlace::Playlist(base) => whole(base.target()),
                IndexPlace::Sidx { file, range, .. } => Location {
                    target: file.clone(),
                    range: Some(*range),
                },
            }),
            ObjectKey::Init(key) => self.places.get(&key)?.init.clone(),
            ObjectKey::Media(key, index) => self
                .places
                .get(&key)?
                .media
                .locate(usize::try_from(index).ok()?),
        }
    }
}

impl MediaPlace {
    fn locate(&self, index: usize) -> Option<Location> {
        match self {
            Self::Unknown => None,
            Self::Template {
                base,
                template,
                arguments,
            } => {
                let Arguments { number, time } = *arguments.get(index)?;
                let url = base.join(&template.expand(number, time)).ok()?;
                Some(whole(url.target()))
            }
            Self::Listed { files, entries } => {
                let (file, range) = *entries.get(index)?;
                Some(Location {
                    target: files.get(usize::try_from(file).ok()?)?.clone(),
                    range,
                })
            }
        }
    }
}

/// A list of files in the making.
#[derive(Debug, Default)]
pub(crate) struct FileList {
    files: Vec<Target>,
    entries: Vec<(u32, Option<ByteRange>)>,
}

impl FileList {
    pub(crate) fn push(&mut self, file: Target, range: Option<ByteRange>) {
        if self.files.last() != Some(&file) {
            self.files.push(file);
        }
        // Never near the limit: there are at most as many files as segments.
        let last = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.entries.push((last.saturating_sub(1), range));
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn finish(self) -> MediaPlace {
        MediaPlace::Listed {
            files: self.files,
            entries: self.entries,
        }
    }
}

pub(crate) const fn whole(target: Target) -> Location {
    Location {
        target,
        range: None,
    }
}
