//! Metrics as a scraper reads them: names with labels, and numbers.

use std::collections::BTreeMap;

use super::proxy::Proxy;

/// One scrape.
#[derive(Clone, Debug)]
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Reads `/metrics`; panics where a line is no sample.
    pub async fn of(proxy: &Proxy) -> Self {
        let answer = proxy.get("/metrics").await.expect(200);
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|e| panic!("{line:?}: {e}")))
        };
        Self(answer.text().lines().filter(|line| !line.starts_with('#')).map(sample).collect())
    }

    /// The value of the sample with this name and labels, as written: `pointsman_in_flight{service="shop",group="blue"}`.
    pub fn value(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    /// The sum over all samples whose name and labels start with `start`.
    pub fn sum(&self, start: &str) -> f64 {
        self.0.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
    }

    /// Names and labels of all samples.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
