//! Drains as JSON, in a column of the service's row, and told by one process to another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::drain::{Drain, Drains, End, Outcome, Part};
use crate::model::names::GroupName;

/// A drain as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    group: String,
    upstream: Option<String>,
    began: Timestamp,
    deadline: Timestamp,
    end: Option<StoredEnd>,
    last: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredEnd {
    outcome: String,
    at: Timestamp,
    why: String,
}

/// Why a text stands for no drains.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0:?} is no outcome of a drain")]
    Outcome(String),
    #[error(transparent)]
    Name(#[from] crate::model::names::InvalidName),
}

pub(crate) fn text(drains: &Drains) -> String {
    let stored = |(part, drain): (&Part, &Drain)| Stored {
        group: part.group.to_string(),
        upstream: part.upstream.clone(),
        began: drain.began,
        deadline: drain.deadline,
        end: drain.end.as_ref().map(|end| StoredEnd {
            outcome: end.outcome.label().to_owned(),
            at: end.at,
            why: end.why.clone(),
        }),
        last: drain.last.map(|o| o.label().to_owned()),
    };
    // Texts and numbers: there is nothing in it that could not be written.
    serde_json::to_string(&drains.iter().map(stored).collect::<Vec<_>>()).unwrap_or_else(|_| "[]".to_owned())
}

pub(crate) fn read(text: &str) -> Result<Drains, Unreadable> {
    let stored: Vec<Stored> = serde_json::from_str(text)?;
    let drain = |stored: Stored| {
        let end = stored
            .end
            .map(|end| Ok::<_, Unreadable>(End { outcome: outcome(&end.outcome)?, at: end.at, why: end.why }));
        let part = Part { group: GroupName::new(&stored.group)?, upstream: stored.upstream };
        let last = stored.last.as_deref().map(outcome).transpose()?;
        Ok((part, Drain { began: stored.began, deadline: stored.deadline, end: end.transpose()?, last }))
    };
    stored.into_iter().map(drain).collect()
}

fn outcome(label: &str) -> Result<Outcome, Unreadable> {
    Outcome::from_label(label).ok_or_else(|| Unreadable::Outcome(label.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drains_are_the_same_after_they_were_stored() {
        let at = |n: i64| Timestamp::from_second(1_700_000_000 + n).unwrap();
        let part = |upstream: Option<&str>| Part {
            group: GroupName::new("blue").unwrap(),
            upstream: upstream.map(ToOwned::to_owned),
        };
        let end = End { outcome: Outcome::TimedOut, at: at(31), why: "1 request was under way".to_owned() };
        let drains = Drains::from([
            (part(None), Drain { began: at(1), deadline: at(31), end: None, last: None }),
            (
                part(Some("http://127.0.0.1:9001")),
                Drain { began: at(1), deadline: at(31), end: Some(end), last: Some(Outcome::Drained) },
            ),
        ]);
        assert_eq!(read(&text(&drains)).unwrap(), drains);
        assert!(read("[]").unwrap().is_empty());
        assert!(read(&text(&drains).replace("drained", "vanished")).is_err());
    }
}
