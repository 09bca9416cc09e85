//! Flows and transfers by name. There are thousands in a large world, and each is looked up several times for every
//! change: a name says where its bearer is.

use alloc::vec::Vec;

/// A name that is never used again, in the order in which names were given, and where its bearer is, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    number: u64,
    place: usize,
}

impl Name {
    /// Names what there never was.
    pub(super) const fn nowhere(number: u64) -> Self {
        Self {
            number,
            place: usize::MAX,
        }
    }
}

/// What has names. Places are used again.
#[derive(Clone, Debug)]
pub(super) struct Store<T> {
    places: Vec<Option<(u64, T)>>,
    free: Vec<usize>,
}

impl<T> Store<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Keeps something under this number, which is to be a new one, and returns its name.
    pub(super) fn insert(&mut self, number: u64, what: T) -> Name {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some((number, what));
        Name { number, place }
    }

    pub(super) fn get(&self, name: Name) -> Option<&T> {
        let (number, what) = self.places.get(name.place)?.as_ref()?;
        (*number == name.number).then_some(what)
    }

    pub(super) fn get_mut(&mut self, name: Name) -> Option<&mut T> {
        let (number, what) = self.places.get_mut(name.place)?.as_mut()?;
        (*number == name.number).then_some(what)
    }

    pub(super) fn remove(&mut self, name: Name) -> Option<T> {
        self.get(name)?;
        let (_, what) = self.places.get_mut(name.place)?.take()?;
        self.free.push(name.place);
        Some(what)
    }

    /// Returns all, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Name, &T)> {
        self.places.iter().zip(0..).filter_map(|(held, place)| {
            let (number, what) = held.as_ref()?;
            let name = Name {
                number: *number,
                place,
            };
            Some((name, what))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_nobody_else_once_its_place_is_used_again() {
        let mut store = Store::new();
        let first = store.insert(1, "first");
        assert_eq!(store.remove(first), Some("first"));
        assert_eq!(store.remove(first), None);
        let second = store.insert(2, "second");
        assert_eq!(store.get(first), None);
        assert_eq!(store.get_mut(first), None);
        assert_eq!(store.remove(first), None);
        assert_eq!(store.get(second), Some(&"second"));
        assert_eq!(store.get(Name::nowhere(2)), None);
        assert!(second > first);
        assert_eq!(store.iter().collect::<Vec<_>>(), [(second, &"second")]);
    }
}
