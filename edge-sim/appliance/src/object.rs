//! What a request is for, told from its path as packagers name files.

use nearcast_protocol::manifest::TrackKind;

use crate::fault::{FaultSelector, ObjectKind};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectName<'a> {
    /// The kind of object.
    pub kind: ObjectKind,
    /// The track it belongs to, if any.
    pub track: Option<TrackKind>,
    /// The representation it belongs to, if any.
    pub representation: Option<&'a str>,
    /// Its place in the track, counted from 0; `None` for what is no segment.
    pub segment: Option<u32>,
}

impl<'a> ObjectName<'a> {
    /// Names what belongs to no track.
    #[must_use]
    pub const fn of_kind(kind: ObjectKind) -> Self {
        Self {
            kind,
            track: None,
            representation: None,
            segment: None,
        }
    }

    /// Tells what lies at a path, from its name: `demo/v3/00012.m4s` is the segment of the picture at place 11, of the representation `v3`.
    ///
    /// The folder is the representation; a number in the file's name counts segments from 1; a file whose name contains
    /// `init` is an init segment. Representations whose names begin with `v` are pictures, with `a` sound, with `s` or
    /// `t` subtitles. That is how the made title is named, and how many packagers can be told to name files.
    #[must_use]
    pub fn of_path(path: &'a str) -> Self {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
        let representation = folder.rsplit('/').next().filter(|name| !name.is_empty());
        let track = if extension == "vtt" {
            Some(TrackKind::Text)
        } else {
            representation.and_then(track_of)
        };
        let of_track = |kind, segment| Self {
            kind,
            track,
            representation: representation.filter(|_| track.is_some()),
            segment,
        };
        match extension {
            "mpd" => Self::of_kind(ObjectKind::Manifest),
            "m3u8" if track.is_none() => Self::of_kind(ObjectKind::Manifest),
            "m3u8" | "sidx" => of_track(ObjectKind::Index, None),
            "key" => of_track(ObjectKind::Key, None),
            "vtt" => of_track(ObjectKind::Subtitle, Some(place(stem).unwrap_or(0))),
            _ if path == "probe" => Self::of_kind(ObjectKind::Probe),
            _ if stem.contains("init") => of_track(ObjectKind::Init, None),
            _ if track == Some(TrackKind::Text) => of_track(ObjectKind::Subtitle, place(stem)),
            _ => of_track(ObjectKind::Media, place(stem)),
        }
    }

    /// Whether a selector is about this, whatever it says of paths, clients and chance.
    pub(crate) fn is_selected(&self, on: &FaultSelector) -> bool {
        on.object.is_none_or(|kind| kind == self.kind)
            && on.track.is_none_or(|track| Some(track) == self.track)
            && on
                .representation
                .as_deref()
                .is_none_or(|one| Some(one) == self.representation)
            && on
                .segment_from
                .is_none_or(|from| self.segment.is_some_and(|at| at >= from))
            && on
                .segment_to
                .is_none_or(|to| self.segment.is_some_and(|at| at <= to))
    }
}

fn track_of(representation: &str) -> Option<TrackKind> {
    match representation.bytes().next()? {
        b'v' => Some(TrackKind::Video),
        b'a' => Some(TrackKind::Audio),
        b's' | b't' => Some(TrackKind::Text),
        _ => None,
    }
}

/// Returns the place that the number at the end of a name tells.
fn place(stem: &str) -> Option<u32> {
    let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number: u32 = stem.get(digits..)?.parse().ok()?;
    number.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name<'a>(
        kind: ObjectKind,
        track: TrackKind,
        representation: &'a str,
        segment: Option<u32>,
    ) -> ObjectName<'a> {
        ObjectName {
            kind,
            track: Some(track),
            representation: Some(representation),
            segment,
        }
    }

    #[test]
    fn what_lies_at_a_path_is_told_from_its_name() {
        use ObjectKind::{Index, Init, Manifest, Media, Probe, Subtitle};
        use TrackKind::{Audio, Text, Video};
        for (path, expected) in [
            ("demo/stream.mpd", ObjectName::of_kind(Manifest)),
            ("master.m3u8", ObjectName::of_kind(Manifest)),
            ("probe", ObjectName::of_kind(Probe)),
            ("demo/v3/media.m3u8", name(Index, Video, "v3", None)),
            ("demo/v3/init.mp4", name(Init, Video, "v3", None)),
            ("demo/v3/00012.m4s", name(Media, Video, "v3", Some(11))),
            (
                "audio_en/00001.m4s",
                name(Media, Audio, "audio_en", Some(0)),
            ),
            (
                "demo/subs_en/all.vtt",
                name(Subtitle, Text, "subs_en", Some(0)),
            ),
            ("demo/v3/whole.mp4", name(Media, Video, "v3", None)),
        ] {
            assert_eq!(ObjectName::of_path(path), expected, "{path}");
        }
    }

    #[test]
    fn every_condition_has_to_hold() {
        let segment = ObjectName::of_path("demo/v3/00012.m4s");
        let on = |change: fn(&mut FaultSelector)| {
            let mut on = FaultSelector::EVERYTHING;
            change(&mut on);
            segment.is_selected(&on)
        };
        assert!(on(|_| {}));
        assert!(on(|on| on.object = Some(ObjectKind::Media)));
        assert!(!on(|on| on.object = Some(ObjectKind::Init)));
        assert!(!on(|on| on.track = Some(TrackKind::Audio)));
        assert!(!on(|on| on.representation = Some("v2".into())));
        assert!(on(
            |on| (on.segment_from, on.segment_to) = (Some(11), Some(11))
        ));
        assert!(!on(|on| on.segment_from = Some(12)));
        assert!(!on(|on| on.segment_to = Some(10)));
        let manifest = ObjectName::of_kind(ObjectKind::Manifest);
        let on = FaultSelector {
            segment_to: Some(10),
            ..FaultSelector::EVERYTHING
        };
        assert!(!manifest.is_selected(&on), "what has no place is at none");
    }
}
