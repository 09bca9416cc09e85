//! Sinks that remember, and what they ought to have got.

use std::sync::{Arc, Mutex};

use nearcast_media::{InitSegment, Sample, SampleKind, SegmentDemuxer};
use nearcast_player::{Cue, CueSink, MediaTime, SampleSink, TrackFormat, TrackKind};

use crate::edge::fixtures;

/// What happened to a [`Collector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Format(TrackKind, String),
    Sample(TrackKind, Sample, bool),
    Flush(TrackKind),
    End(TrackKind),
}

/// Remembers every sample.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<Got>>>);

impl Collector {
    pub(crate) fn all(&self) -> Vec<Got> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn samples(&self, kind: TrackKind) -> Vec<Sample> {
        let all = self.all();
        all.into_iter()
            .filter_map(|got| match got {
                Got::Sample(of, sample, _) if of == kind => Some(sample),
                _ => None,
            })
            .collect()
    }

    fn push(&self, got: Got) {
        self.0.lock().unwrap().push(got);
    }
}

impl SampleSink for Collector {
    fn format(&mut self, format: &TrackFormat) {
        self.push(Got::Format(format.kind, format.representation.clone()));
    }

    fn sample(&mut self, kind: TrackKind, sample: &Sample, preroll: bool) {
        self.push(Got::Sample(kind, sample.clone(), preroll));
    }

    fn flush(&mut self, kind: TrackKind, _from: MediaTime) {
        self.push(Got::Flush(kind));
    }

    fn end(&mut self, kind: TrackKind) {
        self.push(Got::End(kind));
    }
}

/// Remembers what was to be seen.
#[derive(Clone, Default)]
pub(crate) struct Subtitles(pub(crate) Arc<Mutex<Vec<Vec<String>>>>);

impl CueSink for Subtitles {
    fn show(&mut self, cues: &[Cue]) {
        self.0
            .lock()
            .unwrap()
            .push(cues.iter().map(|cue| cue.text.clone()).collect());
    }
}

/// All samples of a representation of the fixtures.
pub(crate) fn samples_of(representation: u32, kind: SampleKind) -> Vec<Sample> {
    let files = fixtures();
    let init = InitSegment::parse(&files[&format!("/title/init-{representation}.mp4")]).unwrap();
    (1..)
        .map_while(|number| files.get(&format!("/title/{representation}-{number}.m4s")))
        .flat_map(|segment| demux(&init, segment, kind))
        .collect()
}

/// All samples of a fixture that holds a whole track in one file.
pub(crate) fn samples_of_file(file: &str, kind: SampleKind) -> Vec<Sample> {
    let files = fixtures();
    let bytes = &files[&format!("/title/{file}")];
    demux(&InitSegment::parse(bytes).unwrap(), bytes, kind)
}

fn demux(init: &InitSegment, bytes: &[u8], kind: SampleKind) -> Vec<Sample> {
    let mut demuxer = SegmentDemuxer::new(init, 0);
    demuxer.push(bytes.to_vec().into());
    let mut samples = Vec::new();
    while let Some(sample) = demuxer.poll_sample().unwrap() {
        samples.push(sample);
    }
    demuxer.finish().unwrap();
    samples.retain(|sample| sample.kind == kind);
    samples
}
