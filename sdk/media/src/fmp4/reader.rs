//! Boxes and their big-endian fields, with the place in the file kept for errors.

use core::fmt;

use super::DemuxError;

/// Four characters that name a box, a codec or a scheme.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The first bytes of a box (ISO/IEC 14496-12, 4.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoxHeader {
    pub(crate) kind: [u8; 4],
    pub(crate) header_len: usize,
    /// Bytes after the header; `None` when the box runs to the end of the file.
    pub(crate) body_len: Option<u64>,
}

impl BoxHeader {
    /// Reads the header that begins at `offset`; `None` asks for more bytes.
    pub(crate) fn parse(bytes: &[u8], offset: u64) -> Result<Option<Self>, DemuxError> {
        let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some((&kind, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let malformed = |what| Err(DemuxError::Malformed { offset, what });
        // Registered types are ASCII, QuickTime's begin with ©: anything else is not a box.
        if !kind.iter().all(|byte| matches!(byte, 0x20..=0x7e | 0xa9)) {
            return malformed("no box begins here");
        }
        let (header_len, size) = match u32::from_be_bytes(*size) {
            0 => {
                return Ok(Some(Self {
                    kind,
                    header_len: 8,
                    body_len: None,
                }));
            }
            1 => match rest.first_chunk::<8>() {
                Some(large) => (16, u64::from_be_bytes(*large)),
                None => return Ok(None),
            },
            small => (8, u64::from(small)),
        };
        let Some(body_len) = size.checked_sub(header_len) else {
            return malformed("a box smaller than its header");
        };
        Ok(Some(Self {
            kind,
            header_len: if header_len == 16 { 16 } else { 8 },
            body_len: Some(body_len),
        }))
    }
}

/// The body of a box of which every byte is present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: u64,
}

/// A box inside a [`Reader`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoxView<'a> {
    pub(crate) kind: [u8; 4],
    /// Where the header begins.
    pub(crate) offset: u64,
    pub(crate) body: Reader<'a>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, the first of which lies at `offset`.
    pub(crate) const fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset }
    }

    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) const fn malformed(&self, what: &'static str) -> DemuxError {
        DemuxError::Malformed {
            offset: self.offset,
            what,
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DemuxError> {
        let Some((head, tail)) = self.bytes.split_at_checked(len) else {
            return Err(self.malformed("a box too short for its fields"));
        };
        self.bytes = tail;
        self.offset += head.len() as u64;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DemuxError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DemuxError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DemuxError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DemuxError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DemuxError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DemuxError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DemuxError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn four_cc(&mut self) -> Result<[u8; 4], DemuxError> {
        self.array()
    }

    /// Reads the version and the flags with which a full box begins.
    pub(crate) fn version_and_flags(&mut self) -> Result<(u8, u32), DemuxError> {
        let word = self.u32()?;
        let [version, ..] = word.to_be_bytes();
        Ok((version, word & 0x00ff_ffff))
    }

    /// Reads an unsigned field of 32 bits in version 0 of a box and 64 bits in version 1.
    pub(crate) fn u32_or_u64(&mut self, version: u8) -> Result<u64, DemuxError> {
        if version == 0 {
            self.u32().map(u64::from)
        } else {
            self.u64()
        }
    }

    /// Reads the next child box; `None` at the end.
    pub(crate) fn next_box(&mut self) -> Result<Option<BoxView<'a>>, DemuxError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let Some(header) = BoxHeader::parse(self.bytes, offset)? else {
            return Err(self.malformed("a box cut short by its parent"));
        };
        self.take(header.header_len)?;
        let len = match header.body_len {
            None => self.bytes.len(),
            Some(len) => usize::try_from(len).unwrap_or(usize::MAX),
        };
        let start = self.offset;
        let body = self.take(len).map_err(|_| DemuxError::Malformed {
            offset,
            what: "a box larger than its parent",
        })?;
        Ok(Some(BoxView {
            kind: header.kind,
            offset,
            body: Reader::new(body, start),
        }))
    }

    /// Returns the first child box of this kind.
    pub(crate) fn find(mut self, kind: &[u8; 4]) -> Result<Option<BoxView<'a>>, DemuxError> {
        while let Some(child) = self.next_box()? {
            if &child.kind == kind {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// Returns the first child box of this kind, which must be there.
    pub(crate) fn require(
        self,
        kind: &[u8; 4],
        missing: &'static str,
    ) -> Result<BoxView<'a>, DemuxError> {
        self.find(kind)?.ok_or_else(|| self.malformed(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_size_are_read() {
        let parse = |bytes: &[u8]| BoxHeader::parse(bytes, 0);
        assert!(parse(b"\0\0\0\x08mda").unwrap().is_none());
        assert_eq!(parse(b"\0\0\0\x0amdat").unwrap().unwrap().body_len, Some(2));
        assert_eq!(parse(b"\0\0\0\0mdat").unwrap().unwrap().body_len, None);
        assert!(parse(b"\0\0\0\x01mdat\0\0\0").unwrap().is_none());
        let large = parse(b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\x10")
            .unwrap()
            .unwrap();
        assert_eq!(large.header_len, 16);
        assert_eq!(large.body_len, Some(1 << 32));
        for hostile in [
            &b"\0\0\0\x07mdat"[..],
            b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f",
            b"\0\0\0\0\0\0\0\0",
        ] {
            assert!(matches!(
                parse(hostile),
                Err(DemuxError::Malformed { offset: 0, .. })
            ));
        }
    }

    #[test]
    fn a_child_larger_than_its_parent_is_malformed_where_it_begins() {
        let mut reader = Reader::new(b"\0\0\0\x08free\0\0\0\x09free", 100);
        assert_eq!(reader.next_box().unwrap().unwrap().offset, 100);
        assert_eq!(
            reader.next_box().unwrap_err(),
            DemuxError::Malformed {
                offset: 108,
                what: "a box larger than its parent"
            }
        );
    }
}
