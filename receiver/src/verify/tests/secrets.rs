//! Secrets: which are taken, which one has signed, and that none is shown or found out byte by byte.

use super::*;

#[test]
fn any_of_several_secrets_may_have_signed_and_is_named() {
    for name in SIGNABLE {
        let [a, b] = [SECRET_A, SECRET_B].map(|secret| secret_for(name, secret));
        let both = pack(name).prepare(&source(&[&b, &a])).unwrap();
        let got = accepted(Delivery::sample(&verifier(name), 0).check(&both));
        assert_eq!(got.key_index, 1, "{name}");
        assert_eq!(both.key_id(1), Some("key1"));
        let only_b = pack(name).prepare(&source(&[&b])).unwrap();
        assert_eq!(
            refused(Delivery::sample(&verifier(name), 0).check(&only_b)),
            Reason::NoMatch
        );
    }
}

/// Two secrets: one until now, one from now on.
fn handing_over(name: &str) -> SourceKeys {
    let now = creel_common::time::Timestamp(u64::try_from(NOW_UNIX_MS).unwrap());
    let mut keys = source(&[&secret_for(name, SECRET_A), &secret_for(name, SECRET_B)]);
    keys.secrets[0].window.not_after = Some(now);
    keys.secrets[1].window.not_before = Some(now);
    keys
}

#[test]
fn a_secret_outside_of_its_window_verifies_nothing_and_is_told_from_a_wrong_one() {
    for name in SIGNABLE {
        let both = pack(name).prepare(&handing_over(name)).unwrap();
        let of = |secret: &str| {
            let only = source(&[&secret_for(name, secret)]);
            Delivery::sample(&pack(name).prepare(&only).unwrap(), 1)
        };
        let (old, new) = (of(SECRET_A), of(SECRET_B));
        assert_eq!(refused(old.check(&both)), Reason::SecretNotValid, "{name}");
        assert_eq!(accepted(new.check(&both)).key_index, 1, "{name}");
        let before = NOW_UNIX_MS - 1;
        assert_eq!(accepted(old.check_at(&both, before)).key_index, 0, "{name}");
        let early = refused(new.check_at(&both, before));
        assert_eq!(early, Reason::SecretNotValid, "{name}");
        // what is signed now is signed with the one that is valid
        let signed = Delivery::sample(&both, 2);
        assert_eq!(accepted(signed.check(&both)).key_index, 1, "{name}");
    }
}

#[test]
fn weak_or_broken_secrets_are_refused() {
    let refused = |name: &str, secrets: &[&str]| {
        pack(name)
            .prepare(&source(secrets))
            .unwrap_err()
            .to_string()
    };
    for name in SIGNABLE {
        assert!(refused(name, &[]).contains("needs a secret"), "{name}");
        assert!(refused(name, &[""]).contains("is empty"), "{name}");
        assert!(
            refused(name, &[SECRET_A, " \t"]).contains("secret "),
            "{name}"
        );
    }
    assert!(refused("github", &["00000000"]).contains("all zero"));
    assert!(refused("github", &["geheim\n"]).contains("line break"));
    assert!(refused("svix", &["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]).contains("all zero"));
    assert!(refused("svix", &["whsec_"]).contains("is empty"));
    assert!(refused("svix", &["whsec_%%%"]).contains("not base64"));
    assert!(refused("basic", &["no-colon"]).contains("user:password"));
    assert!(refused("basic", &["user:"]).contains("user:password"));
    assert!(refused("none", &["secret"]).contains("takes no secret"));
    assert!(refused("standardwebhooks-v1a", &["whpk_AQID"]).contains("public key"));
    assert!(refused("github", &["x"; 33]).contains("more than 32"));
    let error = refused("github", &["geheim", ""]);
    assert!(
        error.contains("secret 1") && !error.contains("geheim"),
        "{error}"
    );
}

#[test]
fn a_verifier_shows_no_secret() {
    let verifier = verifier("github");
    assert!(!format!("{verifier:?}").contains(SECRET_A));
    assert!(!format!("{:?}", source(&[SECRET_A])).contains(SECRET_A));
    let verdict = format!("{:?}", Delivery::sample(&verifier, 0).check(&verifier));
    assert!(!verdict.contains("octocat"), "{verdict}");
}
