//! Which of the known words somebody may have meant. Pure text.

/// What would be right in place of `word`: the nearest of `known`, or all of them.
pub(super) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The word of `known` that is at most a third of its letters (and at least one) away from `word`.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let distance = |k: &&str| edits(&lower, &k.to_lowercase());
    // A word far longer than any known one is not measured: the work grows with the product of the lengths.
    let candidates = known.iter().filter(|k| lower.chars().count().abs_diff(k.chars().count()) <= 3);
    candidates.map(|k| (distance(k), *k)).filter(|(d, k)| *d <= (k.chars().count() / 3).max(1)).min().map(|(_, k)| k)
}

/// How many letters must be put in, taken out, exchanged or swapped with their neighbour (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let exchanged = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = exchanged.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_recognised_and_a_foreign_word_is_not() {
        let known = ["health", "headers", "groups", "split"];
        for (word, meant) in [("heatlh", "health"), ("Health", "health"), ("group", "groups"), ("spilt", "split")] {
            assert_eq!(suggest(word, known), format!("did you mean `{meant}`?"));
        }
        assert_eq!(suggest("wibble", known), "known here: health, headers, groups, split");
        assert_eq!(suggest(&"x".repeat(100_000), known), "known here: health, headers, groups, split");
        assert_eq!(suggest("blue", []), "there is none");
    }
}
