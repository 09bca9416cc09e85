//! The one store of bytes: what attempts have delivered of each fetch.
//!
//! Attempts write at absolute offsets and may overlap (a hedge, a continuation that re-reads a few bytes):
//! the first writer of a byte wins. Nothing here decides anything; the session says what is kept.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use nearcast_core::FetchId;

/// Bytes by fetch.
#[derive(Debug)]
pub(crate) struct Store {
    objects: BTreeMap<FetchId, Object>,
    bytes: u64,
    /// No object may be longer.
    object_max: u64,
}

/// One fetch's bytes.
#[derive(Debug, Default)]
struct Object {
    /// What is there from the start on without a gap.
    head: Head,
    /// What lies behind a gap, by offset, never overlapping.
    later: BTreeMap<u64, Bytes>,
    /// Its size, where somebody said it.
    total: Option<u64>,
}

/// Bytes in one piece. They are copied as they arrive: that frees the buffers of their connection, and nothing is
/// left to do when the whole is wanted. Only what is shown while it arrives is copied once more.
#[derive(Debug)]
enum Head {
    Growing(BytesMut),
    Joined(Bytes),
}

impl Default for Head {
    fn default() -> Self {
        Self::Growing(BytesMut::new())
    }
}

/// An object is longer than it said, or than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Room made for an object whose size is known before anything of it came. Larger ones, four seconds at more than
/// 4 Mbit/s, get theirs as they grow: a header must not size an allocation.
const ROOM_MAX: u64 = 2 << 20;

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
    pub(crate) const fn new(object_max: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            bytes: 0,
            object_max,
        }
    }

    /// Takes somebody's word for the size of an object; the first one counts.
    pub(crate) fn expect(&mut self, fetch: FetchId, total: u64) {
        let object = self.objects.entry(fetch).or_default();
        object.total.get_or_insert(total);
    }

    /// Keeps those of `data`, from offset `at` on, that nobody has written yet; returns how many that were.
    ///
    /// # Errors
    ///
    /// When they lie beyond the end of the object; nothing is kept then.
    pub(crate) fn write(&mut self, fetch: FetchId, at: u64, data: &Bytes) -> Result<u64, TooLong> {
        let object = self.objects.entry(fetch).or_default();
        let to = at.saturating_add(length(data));
        if to > object.total.unwrap_or(u64::MAX).min(self.object_max) {
            return Err(TooLong);
        }
        let mut added = 0;
        for (gap_from, gap_to) in object.gaps(at, to) {
            let piece = slice(data, gap_from - at, gap_to - at);
            added += length(&piece);
            object.insert(gap_from, piece);
        }
        self.bytes += added;
        Ok(added)
    }

    /// Compares `data`, from offset `at` on, with what is stored.
    pub(crate) fn compare(&self, fetch: FetchId, at: u64, data: &Bytes) -> Comparison {
        let Some(object) = self.objects.get(&fetch) else {
            return Comparison::Same;
        };
        let end = at.saturating_add(length(data));
        for (start, piece) in object.overlapping(at, end) {
            let from = start.max(at);
            let to = (start + piece.len() as u64).min(end);
            let stored = part(piece, from - start, to - start);
            let given = part(data, from - at, to - at);
            if let Some(index) = stored.iter().zip(given).position(|(a, b)| a != b) {
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
        self.objects
            .get(&fetch)
            .map_or(0, |object| object.head.length())
    }

    /// Returns everything from the start to the first gap in one piece, which the store shares.
    pub(crate) fn join(&mut self, fetch: FetchId) -> Option<Bytes> {
        Some(self.objects.get_mut(&fetch)?.head.join())
    }

    /// Returns a copy of what there is without a gap from `from` on.
    pub(crate) fn tail(&self, fetch: FetchId, from: u64) -> Option<Bytes> {
        let head = self.objects.get(&fetch)?.head.bytes();
        let tail = head.get(usize::try_from(from).ok()?..)?;
        (!tail.is_empty()).then(|| Bytes::copy_from_slice(tail))
    }

    /// Forgets a fetch.
    pub(crate) fn release(&mut self, fetch: FetchId) {
        if let Some(object) = self.objects.remove(&fetch) {
            self.bytes -= object.head.length() + object.later.values().map(length).sum::<u64>();
        }
    }

    /// Returns how many bytes are held.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Object {
    /// Puts a piece into a gap.
    fn insert(&mut self, at: u64, piece: Bytes) {
        if at != self.head.length() {
            self.later.insert(at, piece);
            return;
        }
        let room = self.total.unwrap_or(0).min(ROOM_MAX);
        self.head.append(&piece, room);
        while let Some(next) = self.later.remove(&self.head.length()) {
            self.head.append(&next, room);
        }
    }

    /// Pieces that share a byte with `from..to`.
    fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self
            .later
            .range(..=from)
            .next_back()
            .map_or(from, |(&start, _)| start);
        let later = self
            .later
            .range(first..to.max(first))
            .map(|(&start, piece)| (start, &piece[..]));
        std::iter::once((0, self.head.bytes()))
            .chain(later)
            .filter(move |(start, piece)| start + piece.len() as u64 > from)
    }

    /// Stretches of `from..to` that nobody has written.
    fn gaps(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = from;
        for (start, piece) in self.overlapping(from, to) {
            if start > at {
                gaps.push((at, start));
            }
            at = at.max(start + piece.len() as u64);
        }
        if at < to {
            gaps.push((at, to));
        }
        gaps
    }
}

impl Head {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Growing(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }

    fn length(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// Adds a piece behind what is there; makes room for `room` bytes in all if it is the first.
    fn append(&mut self, piece: &[u8], room: u64) {
        let mut bytes = match std::mem::take(self) {
            Self::Growing(bytes) => bytes,
            Self::Joined(bytes) => bytes
                .try_into_mut()
                .unwrap_or_else(|shared| BytesMut::from(&shared[..])),
        };
        if bytes.is_empty() {
            bytes.reserve(usize::try_from(room).unwrap_or(0));
        }
        bytes.extend_from_slice(piece);
        *self = Self::Growing(bytes);
    }

    fn join(&mut self) -> Bytes {
        let joined = match std::mem::take(self) {
            Self::Growing(bytes) => bytes.freeze(),
            Self::Joined(bytes) => bytes,
        };
        *self = Self::Joined(joined.clone());
        joined
    }
}

fn length(data: &Bytes) -> u64 {
    data.len() as u64
}

/// Both bounds lie within `data` at every call.
fn slice(data: &Bytes, from: u64, to: u64) -> Bytes {
    data.slice_ref(part(data, from, to))
}

/// As [`slice`].
fn part(data: &[u8], from: u64, to: u64) -> &[u8] {
    let bound =
        |offset: u64| usize::try_from(offset).map_or(data.len(), |offset| offset.min(data.len()));
    &data[bound(from)..bound(to)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FETCH: FetchId = FetchId(1);

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn store() -> Store {
        Store::new(1000)
    }

    #[test]
    fn the_first_writer_of_a_byte_wins() {
        let mut store = store();
        assert_eq!(store.write(FETCH, 2, &bytes("cde")), Ok(3));
        assert_eq!(store.write(FETCH, 0, &bytes("ABCDEFG")), Ok(4));
        assert_eq!(store.join(FETCH), Some(bytes("ABcdeFG")));
        assert_eq!(store.bytes(), 7);
    }

    #[test]
    fn only_the_prefix_without_a_gap_is_read() {
        let mut store = store();
        store.write(FETCH, 0, &bytes("ab")).unwrap();
        store.write(FETCH, 4, &bytes("ef")).unwrap();
        assert_eq!(store.contiguous(FETCH), 2);
        assert_eq!(store.join(FETCH), Some(bytes("ab")));
        store.write(FETCH, 2, &bytes("cd")).unwrap();
        assert_eq!(store.join(FETCH), Some(bytes("abcdef")));
    }

    #[test]
    fn a_continuation_is_compared_with_what_is_there() {
        let mut store = store();
        store.write(FETCH, 0, &bytes("abcdef")).unwrap();
        assert_eq!(store.compare(FETCH, 3, &bytes("defgh")), Comparison::Same);
        assert_eq!(
            store.compare(FETCH, 3, &bytes("dXfgh")),
            Comparison::Differs { at: 4 }
        );
        assert_eq!(store.compare(FetchId(2), 0, &bytes("zz")), Comparison::Same);
    }

    #[test]
    fn the_tail_of_what_is_there_ends_at_the_first_gap() {
        let mut store = store();
        store.write(FETCH, 0, &bytes("abc")).unwrap();
        store.write(FETCH, 5, &bytes("fg")).unwrap();
        assert_eq!(store.tail(FETCH, 1), Some(bytes("bc")));
        assert_eq!(store.tail(FETCH, 3), None);
        store.write(FETCH, 3, &bytes("de")).unwrap();
        assert_eq!(store.tail(FETCH, 3), Some(bytes("defg")));
        assert_eq!(store.join(FETCH), Some(bytes("abcdefg")));
    }

    #[test]
    fn a_released_fetch_frees_its_bytes() {
        let mut store = store();
        store.write(FETCH, 0, &bytes("abc")).unwrap();
        store.write(FetchId(2), 7, &bytes("xy")).unwrap();
        store.release(FETCH);
        store.release(FETCH);
        assert_eq!(store.bytes(), 2);
        assert_eq!(store.join(FETCH), None);
    }

    #[test]
    fn an_object_whose_size_is_known_is_copied_once() {
        let mut store = store();
        store.expect(FETCH, 6);
        store.write(FETCH, 0, &bytes("abc")).unwrap();
        let place = store.objects[&FETCH].head.bytes().as_ptr();
        store.write(FETCH, 3, &bytes("def")).unwrap();
        let joined = store.join(FETCH).unwrap();
        assert_eq!((&joined[..], joined.as_ptr()), (&b"abcdef"[..], place));
        assert_eq!(store.join(FETCH).unwrap().as_ptr(), place);
    }

    #[test]
    fn a_header_makes_little_room() {
        let mut store = Store::new(u64::MAX);
        store.expect(FETCH, 16 << 20);
        store.write(FETCH, 0, &bytes("x")).unwrap();
        let Head::Growing(head) = &store.objects[&FETCH].head else {
            panic!("it grows")
        };
        assert!(head.capacity() as u64 <= ROOM_MAX, "{}", head.capacity());
    }

    #[test]
    fn what_lies_beyond_the_end_of_an_object_is_not_kept() {
        let mut store = store();
        store.expect(FETCH, 6);
        store.expect(FETCH, 9);
        store.write(FETCH, 0, &bytes("abcd")).unwrap();
        assert_eq!(store.write(FETCH, 4, &bytes("efg")), Err(TooLong));
        assert_eq!(store.write(FETCH, 4, &bytes("ef")), Ok(2));
        let other = FetchId(2);
        assert_eq!(store.write(other, 998, &bytes("xyz")), Err(TooLong));
        assert_eq!(store.write(other, u64::MAX, &bytes("x")), Err(TooLong));
        store.expect(other, u64::MAX);
        assert_eq!(store.write(other, 998, &bytes("xy")), Ok(2));
        assert_eq!(
            store.write(other, 0, &bytes("x")),
            Ok(1),
            "no such room is made"
        );
        assert_eq!(store.bytes(), 9);
    }

    proptest! {
        /// Against a plain array of optional bytes, whatever the order of writes.
        #[test]
        fn writes_in_any_order_keep_each_byte_of_its_first_writer(
            writes in prop::collection::vec((0_u8..60, prop::collection::vec(any::<u8>(), 0..30), any::<bool>()), 0..20),
            total in prop::option::of(100_u64..200),
        ) {
            let any = !writes.is_empty() || total.is_some();
            let mut store = store();
            let mut model: Vec<Option<u8>> = vec![None; 100];
            if let Some(total) = total {
                store.expect(FETCH, total);
            }
            for (at, data, join) in writes {
                let mut added = 0;
                for (index, byte) in data.iter().enumerate() {
                    let slot = &mut model[usize::from(at) + index];
                    if slot.is_none() {
                        *slot = Some(*byte);
                        added += 1;
                    }
                }
                prop_assert_eq!(store.write(FETCH, u64::from(at), &Bytes::from(data.clone())), Ok(added));
                if join {
                    store.join(FETCH);
                }
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
