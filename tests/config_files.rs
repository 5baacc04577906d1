//! Every example file in `config/` loads, as it stands.

use std::path::Path;
use std::process::Command;

use crate::support::proxy;

#[test]
fn every_example_is_a_valid_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(root.join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Examples name the certificates for development, which are made, not kept.
        if text.contains("../certs/") && !root.join("certs/dev.crt").exists() {
            assert!(Command::new(root.join("certs/make")).output().unwrap().status.success());
        }
        let check = proxy::binary().args(["check", "--config"]).arg(&path).output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
        assert!(check.status.success() && said.contains("OK"), "{}: {said}{errors}", path.display());
        seen += 1;
    }
    assert!(seen >= 1, "config/ holds no example");
}

#[test]
fn a_broken_file_is_refused_with_the_place_of_what_is_wrong() {
    let check = proxy::check("listeners: { web: { bind: nonsense } }\nservices: {}\nroutes: []\nsevices: {}\n");
    let errors = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && errors.contains("pointsman.yaml:") && errors.contains("sevices"), "{errors}");
}
