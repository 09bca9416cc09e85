//! Writes the two manifests over one set of files: `stream.mpd` (DASH) and `master.m3u8` with a playlist beside
//! each track (HLS).

use crate::config::{FRAMES_PER_SECOND, LANGUAGES, Language, Rung, SEGMENT_SECONDS};
use crate::segments::{INIT, Segment, Track, segment_name};
use crate::sound::{CHANNELS, SAMPLE_RATE};

pub(crate) const DASH: &str = "stream.mpd";
pub(crate) const HLS: &str = "master.m3u8";
/// The name of a track's playlist inside the track's directory.
pub(crate) const PLAYLIST: &str = "media.m3u8";

/// Everything a manifest names.
pub(crate) struct Contents {
    pub(crate) seconds: u32,
    pub(crate) video: Vec<(Rung, Track)>,
    pub(crate) audio: Vec<(Language, Track)>,
}

/// Returns the directory of a language's subtitles.
pub(crate) fn subtitle_dir(language: Language) -> String {
    format!("subs_{}", language.tag)
}

/// The one file of a language's subtitles, inside their directory: text is small, so it is not cut.
pub(crate) const SUBTITLES: &str = "all.vtt";

impl Contents {
    /// Returns every file of the manifests with its content, as paths inside the title.
    pub(crate) fn manifests(&self) -> Vec<(String, String)> {
        let mut files = vec![
            (DASH.to_owned(), self.dash()),
            (HLS.to_owned(), self.hls_master()),
        ];
        for track in self.tracks() {
            files.push((format!("{}/{PLAYLIST}", track.name), hls_media(track)));
        }
        for language in LANGUAGES {
            let path = format!("{}/{PLAYLIST}", subtitle_dir(language));
            files.push((path, self.hls_subtitles()));
        }
        files
    }

    /// Returns all encoded tracks.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = &Track> {
        let video = self.video.iter().map(|(_, track)| track);
        video.chain(self.audio.iter().map(|(_, track)| track))
    }

    fn dash(&self) -> String {
        let mut sets = String::new();
        sets.push_str(&self.dash_video());
        for (language, track) in &self.audio {
            sets.push_str(&dash_audio(*language, track));
        }
        for language in LANGUAGES {
            let (tag, dir) = (language.tag, subtitle_dir(language));
            sets.push_str(&format!(
                r#"    <AdaptationSet contentType="text" mimeType="text/vtt" lang="{tag}">
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>
      <Representation id="{dir}" bandwidth="1000">
        <BaseURL>{dir}/{SUBTITLES}</BaseURL>
      </Representation>
    </AdaptationSet>
"#
            ));
        }
        let seconds = self.seconds;
        format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static"
     mediaPresentationDuration="PT{seconds}S" maxSegmentDuration="PT5S" minBufferTime="PT8S">
  <Period id="0" start="PT0S">
{sets}  </Period>
</MPD>
"#
        )
    }

    fn dash_video(&self) -> String {
        let mut representations = String::new();
        for (rung, track) in &self.video {
            representations.push_str(&format!(
                r#"      <Representation id="{}" codecs="{}" bandwidth="{}" width="{}" height="{}"/>
"#,
                rung.name,
                track.codec,
                rung.rate.as_bps(),
                rung.size.width,
                rung.size.height,
            ));
        }
        format!(
            r#"    <AdaptationSet contentType="video" mimeType="video/mp4" frameRate="{FRAMES_PER_SECOND}" par="16:9" segmentAlignment="true" startWithSAP="1">
      <SegmentTemplate duration="{SEGMENT_SECONDS}" startNumber="1" initialization="$RepresentationID$/{INIT}" media="$RepresentationID$/$Number%05d$.m4s"/>
{representations}    </AdaptationSet>
"#
        )
    }

    fn hls_master(&self) -> String {
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\n");
        let media = |kind, group, dir: &str, language: Language| {
            let default = if language == LANGUAGES[0] {
                "YES"
            } else {
                "NO"
            };
            let (tag, name) = (language.tag, language.name);
            // Subtitles are shown when asked for.
            let (default, channels) = match kind {
                "AUDIO" => (default, format!(",CHANNELS=\"{CHANNELS}\"")),
                _ => ("NO", String::new()),
            };
            format!(
                "#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",LANGUAGE=\"{tag}\",NAME=\"{name}\",\
                 DEFAULT={default},AUTOSELECT=YES{channels},URI=\"{dir}/{PLAYLIST}\"\n"
            )
        };
        for (language, track) in &self.audio {
            text.push_str(&media("AUDIO", "audio", &track.name, *language));
        }
        for language in LANGUAGES {
            text.push_str(&media(
                "SUBTITLES",
                "subs",
                &subtitle_dir(language),
                language,
            ));
        }
        let audio_codec = self.audio.first().map_or("", |(_, track)| &track.codec);
        for (rung, track) in &self.video {
            // BANDWIDTH is the rung's own declared rate, the same number as in the DASH manifest, so that both
            // give the same ladder; it leaves out the sound and is a mean, where RFC 8216 would have the peak.
            text.push_str(&format!(
                "\n#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{},{audio_codec}\",\
                 RESOLUTION={}x{},FRAME-RATE={FRAMES_PER_SECOND}.000,AUDIO=\"audio\",SUBTITLES=\"subs\"\n\
                 {}/{PLAYLIST}\n",
                rung.rate.as_bps(),
                track.rate().as_bps(),
                track.codec,
                rung.size.width,
                rung.size.height,
                track.name,
            ));
        }
        text
    }

    fn hls_subtitles(&self) -> String {
        let seconds = self.seconds;
        format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{seconds}\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXTINF:{seconds}.000000,\n{SUBTITLES}\n#EXT-X-ENDLIST\n"
        )
    }
}

fn dash_audio(language: Language, track: &Track) -> String {
    let (tag, name, codec, timescale) = (language.tag, &track.name, &track.codec, track.timescale);
    // Rounded up to whole kilobits: what was measured, as a rung's rate is.
    let bandwidth = track.rate().as_bps().div_ceil(1000) * 1000;
    let timeline = timeline(&track.segments);
    let role = if language == LANGUAGES[0] {
        "main"
    } else {
        "dub"
    };
    format!(
        r#"    <AdaptationSet contentType="audio" mimeType="audio/mp4" lang="{tag}" segmentAlignment="true" startWithSAP="1">
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="{role}"/>
      <Representation id="{name}" codecs="{codec}" bandwidth="{bandwidth}" audioSamplingRate="{SAMPLE_RATE}">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="{CHANNELS}"/>
        <SegmentTemplate timescale="{timescale}" startNumber="1" initialization="{name}/{INIT}" media="{name}/$Number%05d$.m4s">
          <SegmentTimeline>{timeline}</SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
"#
    )
}

/// Returns the `S` elements of segments: AAC frames do not divide four seconds, so lengths differ by a frame.
fn timeline(segments: &[Segment]) -> String {
    let mut text = String::new();
    for run in segments.chunk_by(|a, b| a.duration == b.duration) {
        let start = if text.is_empty() { " t=\"0\"" } else { "" };
        let (duration, repeats) = (run[0].duration, run.len() - 1);
        text.push_str(&format!("<S{start} d=\"{duration}\" r=\"{repeats}\"/>"));
    }
    text
}

fn hls_media(track: &Track) -> String {
    let timescale = u64::from(track.timescale);
    let longest = track.segments.iter().map(|segment| segment.duration).max();
    // RFC 8216: no segment, rounded to whole seconds, is longer than this.
    let target = (longest.unwrap_or(0) + timescale / 2) / timescale;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-MAP:URI=\"{INIT}\"\n"
    );
    for (number, segment) in (1..).zip(&track.segments) {
        let (seconds, ticks) = (segment.duration / timescale, segment.duration % timescale);
        let millionths = ticks * 1_000_000 / timescale;
        let name = segment_name(number);
        text.push_str(&format!("#EXTINF:{seconds}.{millionths:06},\n{name}\n"));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}
