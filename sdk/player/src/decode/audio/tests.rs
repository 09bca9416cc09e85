use std::sync::{Arc, Mutex};

use nearcast_media::{InitSegment, SampleKind, SegmentDemuxer};
use nearcast_protocol::manifest::RepresentationKey;
use nearcast_units::BitRate;

use super::*;
use crate::sink::TrackFormat;

/// Plays in its own time what it is given, a sample each millisecond.
#[derive(Clone)]
struct Device {
    clock: Clock,
    until: Arc<Mutex<Instant>>,
    given: Arc<Mutex<Vec<f32>>>,
}

impl AudioSink for Device {
    fn configure(&mut self, _: AudioFormat) -> Result<(), String> {
        Ok(())
    }

    fn write(&mut self, interleaved: &[f32]) -> usize {
        let mut until = self.until.lock().unwrap();
        *until = (*until).max(self.clock.now()) + span_of(interleaved.len(), 1000);
        self.given.lock().unwrap().extend(interleaved);
        interleaved.len()
    }

    fn queued(&self) -> Duration {
        self.until.lock().unwrap().since(self.clock.now())
    }

    fn set_playing(&mut self, _: bool) {}

    fn flush(&mut self) {}
}

fn worker() -> (Worker, Device, Playhead) {
    let clock = Clock::start();
    let playhead = Playhead::new(clock, MediaTime::ZERO);
    let device = Device {
        clock,
        until: Arc::new(Mutex::new(Instant::ZERO)),
        given: Arc::default(),
    };
    let worker = Worker::new(Box::new(device.clone()), clock, playhead.clone());
    (worker, device, playhead)
}

fn at_ms(ms: i64) -> MediaTime {
    MediaTime::from_micros(ms * 1000)
}

fn sound(from_ms: i64, length_ms: usize) -> AudioFrame {
    AudioFrame {
        pts: at_ms(from_ms),
        sample_rate: 1000,
        channels: 1,
        samples: vec![1.0; length_ms],
    }
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_through_a_hole_in_the_sound_and_sound_comes_back_in_its_place() {
    let (mut worker, device, playhead) = worker();
    playhead.start(worker.clock.now(), Epoch::default(), at_ms(0), 1.0);
    worker.playing = true;
    assert_eq!(worker.queue(sound(0, 500)), None);
    worker.write();
    let mut notes = Vec::new();
    for _ in 0..400 {
        tokio::time::advance(PLACE_EVERY).await;
        notes.extend(worker.tell_place());
    }
    assert_eq!(playhead.position(), at_ms(4000));
    let dry = DecoderNote::Underrun {
        epoch: Epoch::default(),
    };
    assert_eq!(notes.iter().filter(|note| **note == dry).count(), 1);
    // A second before it is due.
    assert_eq!(worker.queue(sound(5000, 500)), None);
    worker.write();
    tokio::time::advance(PLACE_EVERY).await;
    worker.tell_place();
    assert_eq!(playhead.position(), at_ms(4010));
    let given = device.given.lock().unwrap();
    assert_eq!(given.len(), 500 + 1000 + 500);
    assert!(given[500..1500].iter().all(|value| *value == 0.0));
}

#[tokio::test(start_paused = true)]
async fn after_a_start_further_on_the_sound_from_there_is_heard() {
    let (mut worker, device, _) = worker();
    assert_eq!(worker.queue(sound(0, 500)), None);
    worker.write();
    tokio::time::advance(Duration::from_secs(1)).await;
    worker.start(at_ms(3000));
    assert_eq!(worker.queue(sound(2800, 500)), None);
    worker.write();
    assert_eq!(device.given.lock().unwrap().len(), 500 + 300);
}

const KEY: RepresentationKey = RepresentationKey {
    period: 0,
    track: 1,
    representation: 0,
};

fn init() -> InitSegment {
    InitSegment::parse(include_bytes!("../../../tests/data/init-2.mp4")).unwrap()
}

fn source() -> Source {
    Source {
        format: TrackFormat {
            kind: TrackKind::Audio,
            representation: "2".to_owned(),
            bitrate: BitRate::from_kbps(64),
            info: init().track(SampleKind::Audio).unwrap().clone(),
        },
        epoch: Epoch::default(),
        object: ObjectKey::Init(KEY),
    }
}

#[tokio::test]
async fn a_decoder_is_kept_for_the_same_configuration_only() {
    let (mut worker, ..) = worker();
    let source = source();
    let place = |worker: &Worker| {
        let (_, decoder) = worker.decoder.as_ref().unwrap();
        std::ptr::from_ref(decoder.as_ref()).cast::<()>()
    };
    assert_eq!(worker.open(&source), None);
    let first = place(&worker);
    let mut other_rung = source.clone();
    other_rung.format.representation = "3".to_owned();
    assert_eq!(worker.open(&other_rung), None);
    assert_eq!(place(&worker), first);
    let mut text = source;
    text.format.info.codec.codec = nearcast_media::Codec::Other;
    assert!(matches!(
        worker.open(&text),
        Some(DecoderNote::Unsupported {
            track: TrackKind::Audio,
            code: "unsupported.codec",
            ..
        })
    ));
    assert!(worker.decoder.is_none());
}

/// Is held, and has no room.
struct Full;

impl AudioSink for Full {
    fn configure(&mut self, _: AudioFormat) -> Result<(), String> {
        Ok(())
    }

    fn write(&mut self, _: &[f32]) -> usize {
        0
    }

    fn queued(&self) -> Duration {
        Duration::ZERO
    }

    fn set_playing(&mut self, _: bool) {}

    fn flush(&mut self) {}
}

#[tokio::test]
async fn sound_behind_the_end_holds_nobody_up() {
    let clock = Clock::start();
    let (notes, mut heard) = mpsc::channel(4);
    let playhead = Playhead::new(clock, MediaTime::ZERO);
    let mut track = AudioTrack::spawn(Box::new(Full), clock, playhead, notes).unwrap();
    assert!(track.format(source()));
    let mut demuxer = SegmentDemuxer::new(&init(), 0);
    demuxer.push(
        include_bytes!("../../../tests/data/2-1.m4s")
            .as_slice()
            .into(),
    );
    let object = ObjectKey::Media(KEY, 0);
    while let Some(sample) = demuxer.poll_sample().unwrap() {
        assert!(track.sample(Epoch::default(), object, &sample));
    }
    assert!(track.end());
    track.finish();
    let told = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await;
    let track = TrackKind::Audio;
    assert_eq!(told.unwrap(), Some(DecoderNote::Drained { track }));
}
