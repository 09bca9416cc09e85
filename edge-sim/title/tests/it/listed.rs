//! What lies in the directory, and what the manifests say about it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nearcast_title::{LADDER, RATE_TOLERANCE, SEGMENT_SECONDS};

use crate::{SECONDS, title};

#[test]
fn every_rung_has_the_rate_it_declares_and_segments_that_differ() {
    let mpd = read("stream.mpd");
    let master = read("master.m3u8");
    for made in &title().rungs {
        let (rung, declared) = (made.rung, made.rung.rate.as_bps());
        let sizes: Vec<u64> = (1..=3)
            .map(|n| size(&format!("{}/0000{n}.m4s", rung.name)))
            .collect();
        let bps = sizes.iter().sum::<u64>() * 8 / u64::from(SECONDS);
        let off = (bps as f64 / declared as f64 - 1.0).abs();
        assert!(off < RATE_TOLERANCE, "{}: {bps} for {declared}", rung.name);
        assert_eq!(made.measured.as_bps(), bps);
        // The last of the three lasts three seconds, the others four.
        let rates = [sizes[0] / 4, sizes[1] / 4, sizes[2] / 3];
        let (low, high) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
        assert!(high * 100 > low * 105, "{}: {sizes:?}", rung.name);

        let (name, bandwidth) = (rung.name, format!("bandwidth=\"{declared}\""));
        let representation = mpd.lines().find(|l| l.contains(&format!("id=\"{name}\"")));
        assert!(representation.is_some_and(|line| line.contains(&bandwidth)));
        let variant = format!("#EXT-X-STREAM-INF:BANDWIDTH={declared},AVERAGE-BANDWIDTH={bps},");
        assert!(master.contains(&variant), "{variant} in {master}");
    }
    assert_eq!(title().rungs.len(), LADDER.len());
}

#[test]
fn both_manifests_name_the_same_files_and_all_of_them() {
    let dash = files_of_dash(&read("stream.mpd"));
    let hls = files_of_hls("master.m3u8");
    assert_eq!(dash, hls);
    // 6 rungs and 2 languages with an init segment and 3 segments each, and 2 subtitles.
    assert_eq!(dash.len(), 8 * 4 + 2, "{dash:?}");

    let mut on_disk = BTreeSet::new();
    for track in fs::read_dir(&title().dir).unwrap().map(Result::unwrap) {
        if !track.path().is_dir() {
            continue;
        }
        for file in fs::read_dir(track.path()).unwrap().map(Result::unwrap) {
            let name = file.file_name().into_string().unwrap();
            if !name.ends_with(".m3u8") {
                on_disk.insert(format!("{}/{name}", track.file_name().display()));
            }
        }
    }
    assert_eq!(dash, on_disk);
}

#[test]
fn the_sizes_file_tells_every_media_files_true_size() {
    let sizes: serde_json::Value = serde_json::from_str(&read("sizes.json")).unwrap();
    let files = sizes["files"].as_object().unwrap();
    assert_eq!(files.len(), 8 * 4);
    for (path, bytes) in files {
        assert_eq!(bytes.as_u64(), Some(size(path)), "{path}");
    }
}

#[test]
fn the_catalogue_names_the_manifests_as_seen_from_the_directory_above() {
    let catalogue: toml::Table = toml::from_str(&read("catalogue.toml")).unwrap();
    let title = &catalogue["title"][0];
    assert_eq!(title["id"].as_str(), Some("demo"));
    assert_eq!(
        title["duration_ms"].as_integer(),
        Some(i64::from(SECONDS) * 1000)
    );
    for (key, file) in [
        ("files", ""),
        ("dash", "stream.mpd"),
        ("hls", "master.m3u8"),
    ] {
        let path = title[key].as_str().unwrap();
        assert_eq!(path, format!("title/{file}"));
        assert!(crate::title().dir.join("..").join(path).exists());
    }
}

#[test]
fn nothing_is_left_of_the_work() {
    let parent = title().dir.parent().unwrap();
    let left = fs::read_dir(parent).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        name.into_string().unwrap()
    });
    let left: BTreeSet<String> = left.collect();
    assert_eq!(left, [".title.lock", "title"].map(str::to_owned).into());
}

fn read(path: &str) -> String {
    fs::read_to_string(title().dir.join(path)).unwrap()
}

fn size(path: &str) -> u64 {
    fs::metadata(title().dir.join(path)).unwrap().len()
}

/// Expands a manifest of the one shape that is made here.
fn files_of_dash(mpd: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for set in mpd.split("<AdaptationSet").skip(1) {
        for representation in set.split("<Representation ").skip(1) {
            let id = attribute(representation, "id").unwrap();
            if let Some((_, rest)) = representation.split_once("<BaseURL>") {
                files.insert(rest.split('<').next().unwrap().to_owned());
                continue;
            }
            let template = set.split_once("<SegmentTemplate ").unwrap().1;
            let expand = |name: &str, number: u32| {
                let pattern = attribute(template, name).unwrap();
                let with_id = pattern.replace("$RepresentationID$", id);
                with_id.replace("$Number%05d$", &format!("{number:05}"))
            };
            files.insert(expand("initialization", 0));
            let segments = match attribute(template, "duration") {
                Some(seconds) => SECONDS.div_ceil(seconds.parse().unwrap()),
                None => template
                    .split("<S ")
                    .skip(1)
                    .map(|s| 1 + attribute(s, "r").unwrap().parse::<u32>().unwrap())
                    .sum(),
            };
            files.extend((1..=segments).map(|number| expand("media", number)));
        }
    }
    files
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let tag = element.split('>').next()?;
    let start = format!("{name}=\"");
    let value = match tag.strip_prefix(&start) {
        Some(value) => value,
        None => tag.split_once(&format!(" {start}"))?.1,
    };
    value.split('"').next()
}

/// Follows the multivariant playlist to all media files, and checks each playlist's own sums.
fn files_of_hls(master: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for playlist in uris(&read(master)) {
        let dir = Path::new(&playlist).parent().unwrap();
        let text = read(&playlist);
        let seconds: f64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(','))
            .map(|seconds| seconds.parse::<f64>().unwrap())
            .sum();
        // The sound may run over by less than a frame of 1,024 samples.
        let over = seconds - f64::from(SECONDS);
        assert!((-0.001..0.022).contains(&over), "{playlist}: {seconds}");
        assert!(text.ends_with("#EXT-X-ENDLIST\n"));
        files.extend(uris(&text).iter().map(|uri| {
            let path = dir.join(uri);
            path.to_str().unwrap().to_owned()
        }));
    }
    assert_eq!(SEGMENT_SECONDS, 4);
    files
}

fn uris(playlist: &str) -> Vec<String> {
    let uri = |line: &str| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split('"').next().map(str::to_owned),
        None => (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned()),
    };
    playlist.lines().filter_map(uri).collect()
}
