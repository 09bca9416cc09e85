//! The one store of bytes: what attempts have delivered of each fetch.
//!
//! Attempts write at absolute offsets and may overlap (a hedge, a continuation that re-reads a few bytes):
//! the first writer of a byte wins. Nothing here decides anything; the session says what is kept.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use nearcast_core::FetchId;

/// Bytes by fetch.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<FetchId, Object>,
    bytes: u64,
}

/// Pieces by offset, never overlapping.
#[derive(Debug, Default)]
struct Object {
    pieces: BTreeMap<u64, Bytes>,
}

/// How given bytes compare with the stored ones of the same range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Every byte that is stored is the same (also when none is).
    Same,
    /// A stored byte is another.
    Differs {
        /// Offset of the first such byte.
        at: u64,
    },
}

impl Store {
    /// Keeps those of `data`, from offset `at` on, that nobody has written yet; returns how many that were.
    pub(crate) fn write(&mut self, fetch: FetchId, at: u64, data: &Bytes) -> u64 {
        let object = self.objects.entry(fetch).or_default();
        let mut added = 0;
        for (gap_from, gap_to) in object.gaps(at, at.saturating_add(length(data))) {
            let piece = slice(data, gap_from - at, gap_to - at);
            added += length(&piece);
            object.pieces.insert(gap_from, piece);
        }
        self.bytes += added;
        added
    }

    /// Compares `data`, from offset `at` on, with what is stored.
    pub(crate) fn compare(&self, fetch: FetchId, at: u64, data: &Bytes) -> Comparison {
        let Some(object) = self.objects.get(&fetch) else {
            return Comparison::Same;
        };
        let end = at.saturating_add(length(data));
        for (start, piece) in object.overlapping(at, end) {
            let from = start.max(at);
            let to = (start + length(piece)).min(end);
            let stored = slice(piece, from - start, to - start);
            let given = slice(data, from - at, to - at);
            if let Some(index) = stored.iter().zip(given.iter()).position(|(a, b)| a != b) {
                return Comparison::Differs {
                    at: from + index as u64,
                };
            }
        }
        Comparison::Same
    }

    /// Returns how many bytes from the start on are there without a gap.
    #[cfg(test)]
    pub(crate) fn contiguous(&self, fetch: FetchId) -> u64 {
        self.objects.get(&fetch).map_or(0, Object::contiguous)
    }

    /// Returns everything from the start to the first gap in one piece. The store keeps that piece in
    /// place of the many, so nothing is held twice.
    pub(crate) fn join(&mut self, fetch: FetchId) -> Option<Bytes> {
        let object = self.objects.get_mut(&fetch)?;
        let total = object.contiguous();
        if let Some(first) = object.pieces.get(&0)
            && length(first) == total
        {
            return Some(first.clone());
        }
        let mut joined = BytesMut::with_capacity(usize::try_from(total).ok()?);
        let rest = object.pieces.split_off(&total);
        for piece in std::mem::replace(&mut object.pieces, rest).into_values() {
            joined.extend_from_slice(&piece);
        }
        let joined = joined.freeze();
        if !joined.is_empty() {
            object.pieces.insert(0, joined.clone());
        }
        Some(joined)
    }

    /// Forgets a fetch.
    pub(crate) fn release(&mut self, fetch: FetchId) {
        if let Some(object) = self.objects.remove(&fetch) {
            self.bytes -= object.pieces.values().map(length).sum::<u64>();
        }
    }

    /// Returns how many bytes are held.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Object {
    fn contiguous(&self) -> u64 {
        let mut end = 0;
        for (&start, piece) in &self.pieces {
            if start != end {
                break;
            }
            end = start + length(piece);
        }
        end
    }

    /// Pieces that share a byte with `from..to`.
    fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let first = self
            .pieces
            .range(..=from)
            .next_back()
            .map_or(from, |(&start, _)| start);
        self.pieces
            .range(first..to.max(first))
            .map(|(&start, piece)| (start, piece))
            .filter(move |(start, piece)| start + length(piece) > from)
    }

    /// Stretches of `from..to` that nobody has written.
    fn gaps(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = from;
        for (start, piece) in self.overlapping(from, to) {
            if start > at {
                gaps.push((at, start));
            }
            at = at.max(start + length(piece));
        }
        if at < to {
            gaps.push((at, to));
        }
        gaps
    }
}

fn length(data: &Bytes) -> u64 {
    data.len() as u64
}

/// Both bounds lie within `data` at every call.
fn slice(data: &Bytes, from: u64, to: u64) -> Bytes {
    let bound =
        |offset: u64| usize::try_from(offset).map_or(data.len(), |offset| offset.min(data.len()));
    data.slice(bound(from)..bound(to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FETCH: FetchId = FetchId(1);

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn the_first_writer_of_a_byte_wins() {
        let mut store = Store::default();
        assert_eq!(store.write(FETCH, 2, &bytes("cde")), 3);
        assert_eq!(store.write(FETCH, 0, &bytes("ABCDEFG")), 4);
        assert_eq!(store.join(FETCH), Some(bytes("ABcdeFG")));
        assert_eq!(store.bytes(), 7);
    }

    #[test]
    fn only_the_prefix_without_a_gap_is_read() {
        let mut store = Store::default();
        store.write(FETCH, 0, &bytes("ab"));
        store.write(FETCH, 4, &bytes("ef"));
        assert_eq!(store.contiguous(FETCH), 2);
        assert_eq!(store.join(FETCH), Some(bytes("ab")));
        store.write(FETCH, 2, &bytes("cd"));
        assert_eq!(store.join(FETCH), Some(bytes("abcdef")));
    }

    #[test]
    fn a_continuation_is_compared_with_what_is_there() {
        let mut store = Store::default();
        store.write(FETCH, 0, &bytes("abcdef"));
        assert_eq!(store.compare(FETCH, 3, &bytes("defgh")), Comparison::Same);
        assert_eq!(
            store.compare(FETCH, 3, &bytes("dXfgh")),
            Comparison::Differs { at: 4 }
        );
        assert_eq!(store.compare(FetchId(2), 0, &bytes("zz")), Comparison::Same);
    }

    #[test]
    fn a_released_fetch_frees_its_bytes() {
        let mut store = Store::default();
        store.write(FETCH, 0, &bytes("abc"));
        store.write(FetchId(2), 7, &bytes("xy"));
        store.release(FETCH);
        store.release(FETCH);
        assert_eq!(store.bytes(), 2);
        assert_eq!(store.join(FETCH), None);
    }

    proptest! {
        /// Against a plain array of optional bytes, whatever the order of writes.
        #[test]
        fn writes_in_any_order_keep_each_byte_of_its_first_writer(
            writes in prop::collection::vec((0_u8..60, prop::collection::vec(any::<u8>(), 0..30)), 0..20),
        ) {
            let any = !writes.is_empty();
            let mut store = Store::default();
            let mut model: Vec<Option<u8>> = vec![None; 100];
            for (at, data) in writes {
                let mut added = 0;
                for (index, byte) in data.iter().enumerate() {
                    let slot = &mut model[usize::from(at) + index];
                    if slot.is_none() {
                        *slot = Some(*byte);
                        added += 1;
                    }
                }
                prop_assert_eq!(store.write(FETCH, u64::from(at), &Bytes::from(data.clone())), added);
            }
            let prefix: Vec<u8> = model.iter().map_while(|byte| *byte).collect();
            prop_assert_eq!(store.bytes(), model.iter().flatten().count() as u64);
            prop_assert_eq!(store.contiguous(FETCH), prefix.len() as u64);
            if any {
                prop_assert_eq!(store.join(FETCH).unwrap().to_vec(), prefix);
            }
            prop_assert_eq!(store.bytes(), model.iter().flatten().count() as u64);
        }
    }
}
