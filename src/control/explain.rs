//! Which group a request would get, and why: the data plane's own decisions, in words.

use super::view::{Explanation, Question};
use crate::config::spec::Affinity;
use crate::model::cohort::Position;
use crate::model::fields::Fields;
use crate::model::matching::Facts;
use crate::routing::affinity;
use crate::routing::table::{Entrance, Service};

/// What `question` would meet at `service` now.
pub(super) fn explain(service: &Service, question: &Question) -> Explanation {
    let fields = Fields::from(&question.headers);
    let facts = Facts { fields: &fields, query: question.query.as_deref(), client: question.client };
    let position = affinity::position(&service.affinity, service.salt, &facts);
    let (preferred, by, mut why) = match (service.rule(&facts), position) {
        (Some((rule, group)), _) => (group, "rule", format!("rule {} holds: {}", rule + 1, name(service, group))),
        (None, Some(position)) => {
            let owner = service.owner(position);
            (
                owner,
                "cohort",
                format!("{} is at {} %, {}", id(&service.affinity), percent(position), range(service, owner)),
            )
        }
        (None, None) => (live(service), "random", drawn(service)),
    };
    // Where clients without an id go when their group is down is drawn anew; any position serves as an example.
    let example = position.unwrap_or_else(|| Position::random(u64::MAX / 2));
    let group =
        service.usable_group(preferred, example, |i| service.groups[i].is_open() && service.groups[i].can_serve());
    if group != Some(preferred) {
        let then = group.map_or("nobody else can serve".to_owned(), |g| format!("{} takes over", name(service, g)));
        let not = match &service.groups[preferred] {
            group if group.entrance != Entrance::Open => "is being drained, or was",
            group if group.has_blown() => "could not be connected to, and is kept from users",
            _ => "has no healthy upstream",
        };
        why = format!("{why}; {} {not}, {then}", name(service, preferred));
    }
    Explanation {
        group: group.map(|g| service.groups[g].name.clone()),
        by,
        why,
        position: position.map(|p| f64::from(p.ppm()) / 10_000.0),
        preferred: service.groups[preferred].name.clone(),
    }
}

fn name(service: &Service, group: usize) -> &str {
    service.groups[group].name.as_str()
}

/// The group with the largest share, of equals the first.
fn live(service: &Service) -> usize {
    let shares = service.shares.iter().enumerate().rev();
    shares.max_by_key(|(_, share)| **share).map_or(0, |(i, _)| i)
}

fn id(affinity: &Affinity) -> String {
    match affinity {
        Affinity::Cookie { name, .. } => format!("cookie {name}"),
        Affinity::Header(name) => format!("header {name}"),
        Affinity::ClientIp => "the client's address".to_owned(),
        Affinity::None => "the request".to_owned(),
    }
}

fn percent(position: Position) -> f64 {
    f64::from(position.ppm()) / 10_000.0
}

/// `green owns 25 to 100 %`.
fn range(service: &Service, group: usize) -> String {
    let begin: u32 = service.shares[..group].iter().sum();
    let end = begin + service.shares[group];
    let (begin, end) = (f64::from(begin) / 10_000.0, f64::from(end) / 10_000.0);
    format!("{} owns {begin} to {end} %", name(service, group))
}

fn drawn(service: &Service) -> String {
    let missing = match &service.affinity {
        Affinity::Cookie { name, .. } => format!("no cookie {name} yet"),
        Affinity::Header(name) => format!("no header {name}"),
        Affinity::ClientIp => "no client address was given".to_owned(),
        Affinity::None => "no affinity".to_owned(),
    };
    let shares = service.groups.iter().zip(&service.shares).filter(|(_, share)| **share > 0);
    let shares: Vec<_> = shares.map(|(g, share)| format!("{} {} %", g.name, f64::from(*share) / 10_000.0)).collect();
    format!("{missing}: drawn at random, {}", shares.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::spec::{Rule, Spec};
    use crate::control::compile::{compile, file_services};
    use crate::control::drains::Farewells;
    use crate::control::fuses::Fuses;
    use crate::control::hold::Holds;
    use crate::control::registry::Registry;
    use crate::control::samples;
    use crate::model::adoption::adopt;
    use crate::model::change::Desired;
    use crate::model::cohort::Salt;
    use crate::model::health::Health;
    use crate::model::matching::{Conditions, Expected};
    use crate::model::names::GroupName;
    use crate::model::outcome::Outcome;
    use crate::model::split::{Share, Split};

    fn service(blue: f64, healthy: [bool; 2]) -> Arc<Service> {
        let mut spec: Spec = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        let mut shop = (*spec.services[0]).clone();
        let green = GroupName::new("green").unwrap();
        let share = |percent| Share::from_percent(percent).unwrap();
        shop.split =
            Split::new([(GroupName::new("blue").unwrap(), share(blue)), (green.clone(), share(100.0 - blue))]).unwrap();
        let beta = ("beta".to_owned(), Expected::OneOf(vec!["1".to_owned()]));
        shop.rules = vec![Rule { when: Conditions { cookies: vec![beta], ..Conditions::default() }, group: green }];
        spec.services = vec![Arc::new(shop)];
        let desired = adopt(&Desired::default(), &file_services(&spec), || Salt(5)).desired;
        let table = compile(
            &spec,
            &desired,
            &Registry::new(1).renewed(&spec).unwrap(),
            &Farewells::new(),
            &Holds::new(),
            &Fuses::new(),
        );
        for (group, healthy) in table.services[0].groups.iter().zip(healthy) {
            group.upstreams[0].live.set_health(if healthy { Health::Healthy } else { Health::Unhealthy });
        }
        Arc::clone(&table.services[0])
    }

    fn asked(cookie: &str) -> Question {
        let mut question = Question::default();
        question.headers.insert("cookie", cookie.parse().unwrap());
        question
    }

    #[test]
    fn a_rule_comes_before_the_cohort() {
        let explained = explain(&service(100.0, [true, true]), &asked("beta=1; pointsman=abc"));
        assert_eq!(
            (explained.by, explained.preferred.as_str(), explained.why.as_str()),
            ("rule", "green", "rule 1 holds: green")
        );
    }

    #[test]
    fn a_cohort_is_explained_with_its_position_and_the_groups_range() {
        let shop = service(25.0, [true, true]);
        let explained = explain(&shop, &asked("pointsman=abc"));
        let position = f64::from(Position::of(Salt(5), b"abc").ppm()) / 10_000.0;
        let (group, range) = if position < 25.0 { ("blue", "0 to 25") } else { ("green", "25 to 100") };
        assert_eq!(explained.why, format!("cookie pointsman is at {position} %, {group} owns {range} %"));
        assert_eq!(explained.group.unwrap().as_str(), group);
    }

    #[test]
    fn without_an_id_it_is_drawn_and_a_dead_group_is_said_to_be_dead() {
        let explained = explain(&service(75.0, [false, true]), &Question::default());
        assert_eq!((explained.by, explained.preferred.as_str()), ("random", "blue"));
        assert_eq!(explained.group.unwrap().as_str(), "green");
        assert!(explained.why.contains("blue 75 %, green 25 %; blue has no healthy upstream, green takes over"));
        let mut watched = Arc::into_inner(service(75.0, [true, true])).unwrap();
        watched.groups[0].fuse = Some(1);
        watched.groups[0].live.note_failure(Outcome::ConnectFailed, Some(1));
        let explained = explain(&watched, &Question::default());
        assert_eq!(explained.group.unwrap().as_str(), "green");
        assert!(explained.why.contains("blue could not be connected to, and is kept from users"), "{}", explained.why);
        let nobody = explain(&service(100.0, [false, true]), &Question::default());
        assert_eq!(nobody.group, None);
    }
}
