//! What holds for any text that is read as a configuration: it is taken, or everything wrong with it has a place.

use std::path::Path;

use pointsman::config;

/// Panics where it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let env = |name: &str| (name == "HOME").then(|| "/home".to_owned());
    // A folder that does not exist: files that the text refers to are not there.
    let path = Path::new("/nonexistent/pointsman.yaml");
    match config::parse(text, path, &env) {
        Ok(loaded) => {
            assert_eq!(loaded.text, text);
            assert!(!loaded.spec.listeners.is_empty() && !loaded.spec.services.is_empty(), "it does nothing");
            exported(text, path, &loaded.spec, &env);
        }
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused without a reason");
            // A CR alone ends a line in YAML, too.
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
            let places: Vec<_> = error.problems.iter().map(|p| (p.line, p.col)).collect();
            assert!(places.is_sorted(), "{places:?}");
            for problem in &error.problems {
                assert!(!problem.message.is_empty() && !problem.message.contains(char::is_control), "{problem:?}");
                assert!(!problem.message.contains("has no name"), "{problem:?}");
                assert!(problem.line >= 1 && problem.col >= 1, "without a place: {problem:?}");
                // One line and one column behind the end is where something is missing.
                let line = lines.get(problem.line as usize - 1);
                let within = line.map_or(problem.line as usize == lines.len() + 1, |l| problem.col as usize <= l + 2);
                assert!(within, "outside of the text: {problem:?}");
            }
        }
    }
}

/// What is exported with the same splits is a configuration that says the same.
fn exported(text: &str, path: &Path, spec: &config::spec::Spec, env: &dyn Fn(&str) -> Option<String>) {
    let splits: Vec<_> = spec.services.iter().map(|s| (s.name.clone(), s.split.clone())).collect();
    let exported = config::export(text, &splits);
    match config::parse(exported.as_str(), path, env) {
        Ok(again) => assert_eq!(&again.spec, spec, "exported as {exported:?}"),
        Err(error) => panic!("what was exported is refused: {error}\n{exported}"),
    }
}
