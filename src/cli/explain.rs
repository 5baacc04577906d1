//! `explain`: which group a request like this gets, and why.

use clap::Args;

use super::Output;
use super::client::{Client, segment};
use super::output::{plain, say, say_json};
use crate::admin::wire::Explanation;

/// What the request looks like.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The service it is for.
    service: String,
    /// A cookie of it, repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    cookie: Vec<String>,
    /// A header of it, repeatable.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Its query.
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// Its client's address.
    #[arg(long, value_name = "IP")]
    client: Option<String>,
}

pub(super) async fn run(args: &ExplainArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let found: Explanation = client.get(&path(args)).await?;
    match output {
        Output::Json => say_json(&found),
        Output::Text => Ok(say(&text(&found))?),
    }
}

fn path(args: &ExplainArgs) -> String {
    let pairs = args.cookie.iter().map(|value| ("cookie", value));
    let pairs = pairs.chain(args.header.iter().map(|value| ("header", value)));
    let pairs = pairs.chain(args.query.iter().map(|value| ("query", value)));
    let pairs = pairs.chain(args.client.iter().map(|value| ("client", value)));
    let query: Vec<_> = pairs.map(|(key, value)| format!("{key}={}", segment(value))).collect();
    format!("/api/v1/services/{}/explain?{}", segment(&args.service), query.join("&"))
}

fn text(found: &Explanation) -> String {
    let why = plain(&found.why);
    match &found.group {
        Some(group) if *group == found.preferred => format!("{group} (by {}): {why}\n", found.by),
        Some(group) => format!("{group}, in place of {} (by {}): {why}\n", found.preferred, found.by),
        None => format!("no group can serve it, it would be {} (by {}): {why}\n", found.preferred, found.by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_arrives_in_the_query_whatever_its_characters() {
        let args = ExplainArgs {
            service: "shop".into(),
            cookie: vec!["a=b&c".into()],
            header: vec!["x-user: 7".into()],
            query: Some("v=2".into()),
            client: None,
        };
        assert_eq!(path(&args), "/api/v1/services/shop/explain?cookie=a%3Db%26c&header=x-user%3A%207&query=v%3D2");
    }
}
