//! What is said of many numbers.

use serde::Serialize;

/// Numbers in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

/// A sample in a few numbers; `None` when it is empty.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl Sample {
    /// Returns the smallest number that at least this share of all is not above; `None` when there are none.
    /// With fewer than 100 numbers the 99th percentile is the largest.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.0.len() as f64;
        let at = self
            .0
            .iter()
            .zip(1_u32..)
            .find(|(_, rank)| f64::from(*rank) >= wanted);
        at.map(|(number, _)| *number)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread {
            count: self.len(),
            p50: self.median(),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            max: self.max(),
        }
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(numbers: T) -> Self {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        Self(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numbers_of_the_sample() {
        let sample: Sample = [4.0, 1.0, 3.0, 2.0].into_iter().collect();
        assert_eq!(sample.median(), Some(2.0));
        assert_eq!(sample.quantile(0.95), Some(4.0));
        assert_eq!(sample.quantile(0.99), sample.max());
        assert_eq!(Sample::default().median(), None);
    }
}
