//! `[sources.NAME] schema`.

use super::*;

fn with(schema: &str) -> String {
    format!(
        "{EXAMPLE}\n[sources.shop]\nprovider = \"stripe\"\nsecrets = [{{ env = \"S\" }}]\n\
         schema = {schema}\n"
    )
}

#[test]
fn schemas_are_named_by_file_and_by_event_type() {
    let text =
        with(r#"{ file = "a.json", events = { "b.c" = "d/e.json" }, on_mismatch = "refuse" }"#);
    let config = parse(&text, Path::new("/etc/creel/creel.toml"), &known()).unwrap();
    let events = [("b.c".to_owned(), PathBuf::from("/etc/creel/d/e.json"))];
    assert_eq!(
        config.sources["shop"].schema,
        Some(BodySchema {
            file: Some(PathBuf::from("/etc/creel/a.json")),
            events: BTreeMap::from(events),
            on_mismatch: OnMismatch::Refuse,
        })
    );
    assert_eq!(config.sources["github"].schema, None);
}

#[test]
fn without_a_word_what_does_not_match_becomes_a_dead_letter() {
    let config = parse_text(&with(r#"{ file = "a.json" }"#)).unwrap();
    let schema = config.sources["shop"].schema.as_ref().unwrap();
    assert_eq!(schema.on_mismatch, OnMismatch::DeadLetter);
}

#[test]
fn a_schema_without_a_file_is_a_slip() {
    let told = report(&with(r#"{ on_mismatch = "refuse" }"#));
    assert!(
        told.contains("sources.shop.schema  names no schema; give it a `file`, `events`, or both"),
        "{told}"
    );
}
