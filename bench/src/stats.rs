//! Samples of repeated work, and ratios between them.

use std::time::Duration;

/// What one measured stretch of work did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Answered as wished.
    pub(crate) done: usize,
    /// Answered by a rule that refuses, as expected where many want the same.
    pub(crate) refused: usize,
    /// Not answered, or by a fault.
    pub(crate) failed: usize,
    /// How long the stretch was.
    pub(crate) elapsed: Duration,
    /// Of what was done, in microseconds, in no order.
    pub(crate) latencies: Vec<u32>,
}

impl Sample {
    /// Work done in a second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.done, self.elapsed)
    }

    /// A stretch that is known by its count only.
    pub(crate) fn counted(done: usize, elapsed: Duration) -> Self {
        Self { done, elapsed, ..Self::default() }
    }
}

pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

pub(crate) fn micros(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)
}

/// The same work in each round of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(pub(crate) Vec<Sample>);

impl Series {
    pub(crate) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub(crate) fn rate(&self) -> f64 {
        median(self.0.iter().map(Sample::rate).collect())
    }

    pub(crate) fn done(&self) -> usize {
        self.0.iter().map(|sample| sample.done).sum()
    }

    pub(crate) fn failed(&self) -> usize {
        self.0.iter().map(|sample| sample.failed).sum()
    }

    pub(crate) fn refused(&self) -> usize {
        self.0.iter().map(|sample| sample.refused).sum()
    }

    /// All rounds together.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let mut all: Vec<u32> =
            self.0.iter().flat_map(|sample| sample.latencies.iter().copied()).collect();
        all.sort_unstable();
        quantile(&all, q).map(|us| Duration::from_micros(us.into()))
    }

    /// `p50 / p99`.
    pub(crate) fn latency(&self) -> String {
        match (self.quantile(0.5), self.quantile(0.99)) {
            (Some(p50), Some(p99)) => format!("{} / {}", ms(p50), ms(p99)),
            _ => "-".to_owned(),
        }
    }
}

/// The value below which the share `q` of the sorted values lies (nearest rank).
pub(crate) fn quantile(sorted: &[u32], q: f64) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    let wanted = q * sorted.len() as f64;
    // The first rank, counted from 1, that covers the share.
    let rank = (1..=sorted.len()).find(|rank| *rank as f64 >= wanted).unwrap_or(last + 1);
    sorted.get(rank - 1).copied()
}

/// Zero for no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(low), Some(high)) if values.len().is_multiple_of(2) => low.midpoint(*high),
        (_, Some(middle)) => *middle,
        (_, None) => 0.0,
    }
}

/// How two series compare: the ratio of the medians, and the range of the rounds' own ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Ratio {
    /// Of two lists of figures, round by round.
    pub(crate) fn of(candidate: &[f64], reference: &[f64]) -> Self {
        let over = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        let rounds = candidate.iter().zip(reference).map(|(a, b)| over(*a, *b));
        Self {
            median: over(median(candidate.to_vec()), median(reference.to_vec())),
            least: rounds.clone().fold(f64::INFINITY, f64::min),
            most: rounds.fold(0.0, f64::max),
        }
    }

    /// Of two series' rates.
    pub(crate) fn of_rates(candidate: &Series, reference: &Series) -> Self {
        let rates = |series: &Series| series.0.iter().map(Sample::rate).collect::<Vec<_>>();
        Self::of(&rates(candidate), &rates(reference))
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}..{:.2})", self.median, self.least, self.most)
    }
}

/// Milliseconds with as many digits as mean something.
pub(crate) fn ms(elapsed: Duration) -> String {
    let ms = elapsed.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 1.0 => format!("{ms:.2} ms"),
        _ if ms < 100.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

/// A whole number with thin groups, such as 12,345.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), Some(50));
        assert_eq!(quantile(&values, 0.99), Some(99));
        assert_eq!(quantile(&values, 1.0), Some(100));
        assert_eq!(quantile(&values, 0.0), Some(1));
        assert_eq!(quantile(&[7], 0.99), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(vec![9.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
        assert!(median(vec![]).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_compares_medians_and_shows_the_rounds() {
        let ratio = Ratio::of(&[10.0, 20.0, 30.0], &[10.0, 10.0, 60.0]);
        assert_eq!(ratio.to_string(), "2.00 (0.50..2.00)");
        assert_eq!(Ratio::of(&[1.0], &[0.0]).to_string(), "0.00 (0.00..0.00)");
    }

    #[test]
    fn a_series_merges_the_latencies_of_its_rounds() {
        let round = |latencies: Vec<u32>| Sample { latencies, ..Sample::default() };
        let series = Series(vec![round(vec![30_000, 10_000]), round(vec![20_000])]);
        assert_eq!(series.quantile(0.5), Some(Duration::from_millis(20)));
        assert_eq!(series.latency(), "20.0 ms / 30.0 ms");
        assert_eq!(Series::default().latency(), "-");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0.4), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(-1_000.0), "-1,000");
    }
}
