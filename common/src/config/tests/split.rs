//! `[[routes]] split`.

use super::*;

fn with(provider: &str, split: &str) -> String {
    format!(
        "[sources.x]\nprovider = \"{provider}\"\nsecrets = [{{ env = \"S\" }}]\n\
         [destinations.y]\ntype = \"file\"\n\
         [[routes]]\nsource = \"x\"\ndestination = \"y\"\nmatch = {{ event = [\"a\", \"b\"] }}\n\
         {split}\n"
    )
}

fn split_of(provider: &str, split: &str) -> (Vec<String>, Option<Split>) {
    let text = with(provider, split);
    let mut config = parse_text(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let route = config.routes.remove(0);
    (route.events, route.split)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn true_takes_all_from_the_pack_and_matches_items_instead_of_deliveries() {
    let (events, split) = split_of("twilio", "split = true");
    let expected = Split {
        path: some("/"),
        form: None,
        id: some("/id"),
        event_type: some("/type"),
        otherwise: Otherwise::DeadLetter,
        events: vec!["a".to_owned(), "b".to_owned()],
    };
    assert_eq!(split, Some(expected));
    assert_eq!(events, Vec::<String>::new(), "the route takes everything");
}

#[test]
fn false_is_as_if_it_were_left_out() {
    for split in ["", "split = false"] {
        let (events, split) = split_of("twilio", split);
        assert_eq!((events.len(), split), (2, None));
    }
}

#[test]
fn what_the_pack_says_of_its_array_holds_for_no_other() {
    let (_, split) = split_of(
        "twilio",
        "split = { path = \"/more\", otherwise = \"whole\" }",
    );
    let split = split.unwrap();
    assert_eq!((split.path, split.id), (some("/more"), None));
    assert_eq!(split.otherwise, Otherwise::Whole);
    let (_, split) = split_of("twilio", "split = { path = \"/\", id = \"/own\" }");
    let split = split.unwrap();
    assert_eq!((split.id, split.event_type), (some("/own"), some("/type")));
}

#[test]
fn a_form_holds_the_array_in_all_of_its_field() {
    let (_, split) = split_of("github", "split = { form = \"mandrill_events\" }");
    let split = split.unwrap();
    assert_eq!(
        (split.path, split.form),
        (some("/"), some("mandrill_events"))
    );
}

#[test]
fn a_pack_that_knows_no_items_needs_a_path() {
    let told = report(&with("github", "split = true"));
    assert!(
        told.contains("routes[0].split")
            && told.contains("provider `github` is not known to send several items at once"),
        "{told}"
    );
}

#[test]
fn a_pointer_starts_with_a_slash() {
    let told = report(&with(
        "github",
        "split = { path = \"events\", id = \"id\" }",
    ));
    for path in ["routes[0].split.path", "routes[0].split.id"] {
        assert!(
            told.contains(&format!("{path}  ")) && told.contains("a JSON pointer starts with `/`"),
            "{told}"
        );
    }
}

#[test]
fn an_executable_without_packs_leaves_the_pack_to_others() {
    let text = with("twilio", "split = true");
    let config = parse(&text, Path::new("creel.toml"), &Known::default()).unwrap();
    assert_eq!(config.routes[0].split.as_ref().unwrap().path, None);
}
