//! Packs as they are read: what is wrong with one, and what it might have been.

use super::*;

#[test]
fn a_broken_pack_is_told_line_column_and_suggestion() {
    let text = "title = \"x\"\n[verify]\nalg = \"hmac-sha265\"\nsig = \"header:X | hexx\"\nsigned = \"{body\"\nsignd = 1\n\n[evnt]\nid = 3\n";
    let error = Pack::parse("x", text).unwrap_err();
    let found: Vec<(usize, usize, &str)> = error
        .problems
        .iter()
        .map(|p| (p.line, p.column, p.at.as_str()))
        .collect();
    assert!(found.contains(&(3, 7, "verify.alg")), "{error}");
    assert!(found.contains(&(4, 7, "verify.sig")), "{error}");
    assert!(found.contains(&(5, 10, "verify.signed")), "{error}");
    assert!(found.contains(&(6, 1, "verify.signd")), "{error}");
    assert!(
        found
            .iter()
            .any(|(line, _, at)| (*line, *at) == (8, "evnt")),
        "{error}"
    );
    let text = error.to_string();
    for wanted in [
        "`hmac-sha256`",
        "`hex`",
        "without `}`",
        "`signed`",
        "`event`",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    let error = Pack::parse("x", "[verify\n").unwrap_err();
    assert_eq!(error.problems[0].line, 1);
    assert!(Pack::parse("x", "title = \"x\"").is_err());
}

#[test]
fn an_unknown_provider_is_met_with_a_suggestion() {
    let registry = Registry::built_in();
    assert_eq!(registry.did_you_mean("githb"), Some("github"));
    assert_eq!(registry.did_you_mean("zzzzzzzz"), None);
}

#[test]
fn a_user_pack_is_read_like_a_built_in_one() {
    let mut registry = Registry::built_in();
    let text = "[verify]\nalg=\"hmac-sha256\"\nsig=\"header:X-Own | hex\"\nsigned=\"{body}\"";
    registry.add("own", text).unwrap();
    let verifier = registry
        .get("own")
        .unwrap()
        .prepare(&source(&["geheim"]))
        .unwrap();
    accepted(Delivery::sample(&verifier, 0).check(&verifier));
}
