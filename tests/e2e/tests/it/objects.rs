//! What faults select: a path tells what lies there as the manifest has it.

use std::fs;

use nearcast_appliance::ObjectName;
use nearcast_appliance::fault::ObjectKind;
use nearcast_manifest::{Manifest, Target, parse};
use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, SegmentIndex, TrackKind};

use crate::title::title;

fn manifest(name: &str) -> Manifest {
    parse(&fs::read(title().join(name)).unwrap(), name).unwrap()
}

/// Returns where an object lies on an edge that has the title in a folder of its own.
fn path_of(manifest: &Manifest, object: ObjectKey) -> String {
    let location = manifest.locations.locate(object).unwrap();
    let Target::Path(path) = location.target else {
        panic!("{location:?}");
    };
    assert!(title().join(&path).is_file(), "{path}");
    format!("title/{path}")
}

/// Returns all objects of representations, with what a selector calls their track and representation.
fn objects(manifest: &Manifest) -> Vec<(ObjectKey, TrackKind, String)> {
    let mut objects = Vec::new();
    for (period, one) in (0..).zip(&manifest.outline.periods) {
        for (track, tracks) in (0..).zip(&one.tracks) {
            for (representation, coded) in (0..).zip(&tracks.representations) {
                let key = RepresentationKey {
                    period,
                    track,
                    representation,
                };
                let mut keys = Vec::new();
                if coded.init {
                    keys.push(ObjectKey::Init(key));
                }
                match &coded.index {
                    SegmentIndex::Known(segments) => {
                        let segments = (0..).zip(segments);
                        keys.extend(segments.map(|(index, _)| ObjectKey::Media(key, index)));
                    }
                    SegmentIndex::Deferred => keys.push(ObjectKey::Index(key)),
                }
                let named = keys
                    .into_iter()
                    .map(|key| (key, tracks.kind, coded.id.clone()));
                objects.extend(named);
            }
        }
    }
    objects
}

#[test]
fn the_titles_paths_tell_what_lies_there() {
    let manifest = manifest("stream.mpd");
    let told = path_of(&manifest, ObjectKey::Manifest);
    assert_eq!(
        ObjectName::of_path(&told),
        ObjectName::of_kind(ObjectKind::Manifest)
    );
    let objects = objects(&manifest);
    // Six rungs and two languages, thirty segments of four seconds and an init segment each; subtitles.
    assert!(objects.len() > 8 * 31, "{}", objects.len());
    for (key, track, id) in objects {
        let path = path_of(&manifest, key);
        let (kind, segment) = match key {
            ObjectKey::Init(_) => (ObjectKind::Init, None),
            ObjectKey::Media(_, index) if track == TrackKind::Text => {
                (ObjectKind::Subtitle, Some(index))
            }
            ObjectKey::Media(_, index) => (ObjectKind::Media, Some(index)),
            ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Probe => panic!("{key:?}"),
        };
        let expected = ObjectName {
            kind,
            track: Some(track),
            representation: Some(&id),
            segment,
        };
        assert_eq!(ObjectName::of_path(&path), expected, "{path}");
    }
}

#[test]
fn the_titles_playlists_tell_whose_they_are() {
    let manifest = manifest("master.m3u8");
    let objects = objects(&manifest);
    assert!(objects.len() >= 10, "{}", objects.len());
    for (key, track, _) in objects {
        let path = path_of(&manifest, key);
        let told = ObjectName::of_path(&path);
        // HLS has its own names for representations of sound and subtitles: groups.
        let expected = (ObjectKind::Index, Some(track));
        assert_eq!((told.kind, told.track), expected, "{path}");
        assert_eq!(told.representation, path.split('/').nth(1), "{path}");
    }
}
