use nearcast_media::{InitSegment, SampleKind, SegmentDemuxer};
use nearcast_protocol::manifest::RepresentationKey;

use super::*;
use crate::sink::TrackFormat;

const KEY: RepresentationKey = RepresentationKey {
    period: 0,
    track: 0,
    representation: 1,
};

/// Times of the pictures that were given, in tenths of a second.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<i64>>>);

impl FrameSink for Tape {
    fn frame(&mut self, info: &FrameInfo, _: VideoFrame) {
        self.0.lock().unwrap().push(info.pts.as_micros() / 100_000);
    }
}

fn init() -> InitSegment {
    InitSegment::parse(include_bytes!("../../../tests/data/init-1.mp4")).unwrap()
}

fn source() -> Source {
    Source {
        format: TrackFormat {
            kind: TrackKind::Video,
            representation: "1".to_owned(),
            bitrate: BitRate::from_kbps(160),
            info: init().track(SampleKind::Video).unwrap().clone(),
        },
        epoch: Epoch::default(),
        object: ObjectKey::Init(KEY),
    }
}

/// The samples of the first second.
fn samples(generation: u32) -> Vec<Work> {
    let mut demuxer = SegmentDemuxer::new(&init(), 0);
    demuxer.push(
        include_bytes!("../../../tests/data/1-1.m4s")
            .as_slice()
            .into(),
    );
    let mut samples = Vec::new();
    while let Some(sample) = demuxer.poll_sample().unwrap() {
        samples.push(Work::Sample {
            generation,
            epoch: Epoch::default(),
            object: ObjectKey::Media(KEY, 0),
            sample,
        });
    }
    samples
}

#[tokio::test]
async fn what_is_decoded_again_after_damage_is_given_once() {
    // Up to which picture what was given is forgotten: all of it, or only what is still inside the decoder.
    for everything_given in [true, false] {
        let clock = Clock::start();
        let tape = Tape::default();
        let playhead = Playhead::new(clock, MediaTime::ZERO);
        let sink = Box::new(tape.clone());
        let mut worker = Worker::new(sink, FrameDelivery::Every, clock, playhead);
        let ready = |worker: &Worker| {
            worker.tell_ready();
            worker.ready.load(Ordering::Acquire)
        };
        let given = || tape.0.lock().unwrap().clone();
        assert_eq!(worker.take(Work::Format(source())), None);
        assert_eq!(ready(&worker), 0, "nothing is decoded yet");
        for work in samples(0).into_iter().take(7) {
            assert_eq!(worker.take(work), None);
        }
        assert_eq!(ready(&worker), 1);
        let before = given();
        assert!(
            (1..6).contains(&before.len()),
            "some are inside: {before:?}"
        );
        // The segment is fetched elsewhere and comes again from its start.
        let from = if everything_given {
            0
        } else {
            before.len() + 1
        };
        let from = i64::try_from(from).unwrap();
        worker.generation = 1;
        worker.flush(Flush {
            generation: 1,
            from: MediaTime::from_micros(from * 100_000),
            everything: false,
        });
        if everything_given {
            assert_eq!(given(), before, "what is inside may be wrong");
            assert_eq!(ready(&worker), 0, "as what was given may be");
        } else {
            assert_eq!(given(), (0..from).collect::<Vec<_>>());
            assert_eq!(ready(&worker), 2);
        }
        worker.take(Work::Format(source()));
        for work in samples(1) {
            assert_eq!(worker.take(work), None);
        }
        assert_eq!(ready(&worker), 2);
        worker.take(Work::End { generation: 1 });
        assert_eq!(given(), (0..10).collect::<Vec<_>>());
        let counts = worker.counts.report();
        assert_eq!(
            (counts.decoded, counts.repeated, counts.missing),
            (10, 0, 0)
        );
    }
}

#[tokio::test]
async fn pictures_behind_the_end_hold_nobody_up() {
    let clock = Clock::start();
    let tape = Tape::default();
    let (notes, mut heard) = mpsc::channel(4);
    let mut track = VideoTrack::spawn(
        Box::new(tape.clone()),
        FrameDelivery::WhenDue,
        clock,
        // Held where playback has ended.
        Playhead::new(clock, MediaTime::from_micros(300_000)),
        notes,
    )
    .unwrap();
    assert!(track.format(source()));
    for work in samples(0) {
        let Work::Sample {
            epoch,
            object,
            sample,
            ..
        } = work
        else {
            continue;
        };
        assert!(track.sample(epoch, object, &sample));
    }
    assert!(track.end());
    track.finish();
    let told = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await;
    let track = TrackKind::Video;
    assert_eq!(told.unwrap(), Some(DecoderNote::Drained { track }));
    assert!(tape.0.lock().unwrap().iter().all(|time| *time <= 3));
}

#[tokio::test]
async fn a_broken_configuration_is_the_edges_fault_and_an_unknown_codec_nobodys() {
    let clock = Clock::start();
    let (notes, mut heard) = mpsc::channel(4);
    let mut track = VideoTrack::spawn(
        Box::new(Tape::default()),
        FrameDelivery::Every,
        clock,
        Playhead::new(clock, MediaTime::ZERO),
        notes,
    )
    .unwrap();
    let mut broken = source();
    broken.format.info.codec.config = vec![1, 2, 3];
    assert!(track.format(broken));
    assert_eq!(
        heard.recv().await,
        Some(DecoderNote::Undecodable {
            epoch: Epoch::default(),
            object: ObjectKey::Init(KEY),
            code: "media.decoder_config",
        })
    );
    let mut unknown = source();
    unknown.format.info.codec.codec = nearcast_media::Codec::Other;
    assert!(track.format(unknown));
    assert!(matches!(
        heard.recv().await,
        Some(DecoderNote::Unsupported {
            track: TrackKind::Video,
            code: "unsupported.codec",
            ..
        })
    ));
}
