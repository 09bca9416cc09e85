//! Manifests from `tests/data`, and what must hold of every manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nearcast_manifest::{Location, Manifest, Target, parse};
use nearcast_protocol::manifest::{
    Container, ObjectKey, Representation, RepresentationKey, Segment, SegmentIndex, Track,
    TrackKind,
};

/// Where the manifest of a fixture is said to lie, relative to any appliance.
const HOME: &str = "title/";

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Parses a fixture and loads every index it defers to.
pub(crate) fn open(name: &str, file: &str) -> Manifest {
    let bytes = std::fs::read(folder(name).join(file)).unwrap();
    let mut manifest = parse(&bytes, &format!("{HOME}{file}")).unwrap();
    for key in keys(&manifest) {
        if representation(&manifest, key).index == SegmentIndex::Deferred {
            let location = manifest.locations.locate(ObjectKey::Index(key)).unwrap();
            let index = std::fs::read(folder(name).join(index_file(&location))).unwrap();
            let segments = manifest.load_index(key, &index).unwrap();
            assert_eq!(segments, segments_of(&manifest, key));
        }
    }
    manifest
}

/// The bytes of a `sidx` lie beside the fixture in a file of their own.
fn index_file(location: &Location) -> String {
    let name = path(location);
    match location.range {
        Some(range) => {
            assert_eq!(range.length(), 104);
            name.replace(".mp4", ".sidx")
        }
        None => name,
    }
}

pub(crate) fn keys(manifest: &Manifest) -> Vec<RepresentationKey> {
    let mut keys = Vec::new();
    for (period, content) in (0_u16..).zip(&manifest.outline.periods) {
        for (track, content) in (0_u16..).zip(&content.tracks) {
            for (representation, _) in (0_u16..).zip(&content.representations) {
                keys.push(RepresentationKey {
                    period,
                    track,
                    representation,
                });
            }
        }
    }
    keys
}

pub(crate) fn key(period: u16, track: u16, representation: u16) -> RepresentationKey {
    RepresentationKey {
        period,
        track,
        representation,
    }
}

pub(crate) fn representation(manifest: &Manifest, key: RepresentationKey) -> &Representation {
    manifest.outline.representation(key).unwrap()
}

pub(crate) fn segments_of(manifest: &Manifest, key: RepresentationKey) -> &[Segment] {
    match &representation(manifest, key).index {
        SegmentIndex::Known(segments) => segments,
        SegmentIndex::Deferred => &[],
    }
}

pub(crate) fn tracks(manifest: &Manifest) -> Vec<&Track> {
    manifest
        .outline
        .periods
        .iter()
        .flat_map(|period| &period.tracks)
        .collect()
}

/// Start and duration of each segment in microseconds.
pub(crate) fn times(manifest: &Manifest, key: RepresentationKey) -> Vec<(i64, u128)> {
    segments_of(manifest, key)
        .iter()
        .map(|segment| (segment.start.as_micros(), segment.duration.as_micros()))
        .collect()
}

/// The file of each segment.
pub(crate) fn files(manifest: &Manifest, key: RepresentationKey) -> Vec<String> {
    (0_u32..)
        .map_while(|index| manifest.locations.locate(ObjectKey::Media(key, index)))
        .map(|location| match location.target {
            Target::Path(path) | Target::Url(path) => path,
        })
        .collect()
}

fn path(location: &Location) -> String {
    match &location.target {
        Target::Path(path) => path.strip_prefix(HOME).unwrap().to_owned(),
        Target::Url(url) => panic!("{url} is elsewhere"),
    }
}

/// Checks what holds of every manifest that parses.
pub(crate) fn check_invariants(manifest: &Manifest) {
    assert!(!manifest.outline.periods.is_empty());
    assert!(manifest.locations.locate(ObjectKey::Manifest).is_some());
    for key in keys(manifest) {
        let representation = representation(manifest, key);
        let has = |object| manifest.locations.locate(object).is_some();
        assert_eq!(representation.init, has(ObjectKey::Init(key)));
        let segments = segments_of(manifest, key);
        if representation.index == SegmentIndex::Deferred {
            assert!(has(ObjectKey::Index(key)));
        } else {
            assert!(!segments.is_empty());
        }
        for segment in segments {
            assert!(!segment.duration.is_zero());
        }
        for pair in segments.windows(2) {
            assert!(
                pair[0].start + pair[0].duration <= pair[1].start,
                "{:?} overlaps {:?}",
                pair[0],
                pair[1]
            );
        }
        let count = u32::try_from(segments.len()).unwrap();
        for index in [0, count / 2, count.saturating_sub(1)] {
            assert_eq!(has(ObjectKey::Media(key, index)), index < count);
        }
        assert!(!has(ObjectKey::Media(key, count)));
    }
    for track in tracks(manifest) {
        assert!(!track.representations.is_empty());
        assert!(track.representations.is_sorted_by_key(|one| one.bitrate));
        let ids: BTreeSet<_> = track.representations.iter().map(|one| &one.id).collect();
        assert_eq!(ids.len(), track.representations.len());
    }
}

/// Checks a manifest against the files that its packager made: every object lies in a file, single files are
/// covered without a hole, and every file is used.
pub(crate) fn check_files(manifest: &Manifest, name: &str) {
    check_invariants(manifest);
    let listing = std::fs::read_to_string(folder(name).join("files.txt")).unwrap();
    let sizes: BTreeMap<&str, u64> = listing
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(file, size)| (file, size.parse().unwrap()))
        .collect();
    let mut used = BTreeSet::new();
    for key in keys(manifest) {
        let init = manifest.locations.locate(ObjectKey::Init(key));
        let representation = representation(manifest, key);
        assert_eq!(init.is_some(), representation.container == Container::Fmp4);
        let segments = segments_of(manifest, key);
        let mut end = None;
        for (index, segment) in (0_u32..).zip(segments) {
            let media = manifest
                .locations
                .locate(ObjectKey::Media(key, index))
                .unwrap();
            let file = path(&media);
            let size = *sizes.get(file.as_str()).unwrap_or_else(|| panic!("{file}"));
            match media.range {
                None => assert_eq!(segment.size, None),
                Some(range) => {
                    assert_eq!(segment.size.unwrap().get(), range.length());
                    assert!(end.is_none_or(|end| end == range.first), "a hole in {file}");
                    end = Some(range.last + 1);
                    if index as usize + 1 == segments.len() {
                        assert_eq!(end, Some(size), "{file} is not covered");
                    }
                }
            }
            used.insert(file);
        }
        used.extend(init.map(|init| path(&init)));
    }
    let made: BTreeSet<String> = sizes.keys().map(|file| (*file).to_owned()).collect();
    assert_eq!(used, made);
}

/// Kind, language and number of representations of each track.
pub(crate) fn shape(manifest: &Manifest) -> Vec<(TrackKind, Option<&str>, usize)> {
    tracks(manifest)
        .into_iter()
        .map(|track| {
            (
                track.kind,
                track.language.as_deref(),
                track.representations.len(),
            )
        })
        .collect()
}
