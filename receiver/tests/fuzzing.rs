//! The readers of what strangers send, over their seeds and some thousand mutations of them, so that
//! the targets of `tests/fuzz` cannot rot; and the memory they take for much of the same.
#![cfg(feature = "fuzzing")]
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use creel_common::testkit::doors::Doors;
use creel_receiver::fuzzing::{
    BYTES_PER_BYTE_MAX, DOORS, FIXED_BYTES_MAX, form, headers, json, packs, peak_bytes, sample,
    signed_deliveries, within_its_bound,
};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

const MUTATIONS: usize = 1_500;

fn doors() -> Doors<'static> {
    Doors {
        crate_name: "creel_receiver",
        doors: &DOORS,
        sample,
        fuzz: Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz"),
    }
}

/// Memory is counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Packs of every way to sign, whose deliveries are seeds of the door `packs`.
const SEEDS_OF_PACKS: [&str; 16] = [
    "basic",
    "discord",
    "figma",
    "gitlab-signed",
    "hubspot",
    "mailchimp",
    "mailgun",
    "mercadopago",
    "microsoft-graph",
    "paddle",
    "sendgrid",
    "slack",
    "standardwebhooks",
    "stripe",
    "twilio",
    "zoom",
];

/// With `CREEL_BLESS=1` a first seed is written for each.
#[test]
fn what_a_door_is_meant_for_is_a_seed() {
    let _alone = alone();
    let doors = doors();
    doors.take_their_samples();
    for delivery in signed_deliveries() {
        let name = delivery.split(|byte| *byte == b' ').next().unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        if SEEDS_OF_PACKS.contains(&name.as_str()) {
            let path = doors
                .fuzz
                .join("seeds/packs")
                .join(format!("signed-{name}"));
            if std::env::var_os("CREEL_BLESS").is_some() {
                std::fs::write(&path, &delivery).unwrap();
            }
            assert!(path.exists(), "no {}", path.display());
        }
    }
}

#[test]
fn every_door_has_a_target_and_every_target_a_door() {
    let _alone = alone();
    doors().have_their_targets();
}

#[test]
fn no_reader_panics_believes_or_takes_more_than_its_bound_over_what_is_made_of_seeds() {
    let _alone = alone();
    for (name, door) in DOORS {
        door(&sample(name));
    }
    doors().stand_mutations(|_| MUTATIONS, within_its_bound);
}

#[test]
fn no_pack_believes_or_takes_more_than_its_bound_over_its_own_delivery_with_changes() {
    let _alone = alone();
    packs(&sample("packs"));
    for delivery in signed_deliveries() {
        within_its_bound("packs", packs, &delivery);
        for at in 0..delivery.len() {
            let mut changed = delivery.clone();
            changed[at] ^= 1 << (at % 8);
            within_its_bound("packs", packs, &changed);
        }
    }
}

/// Lists as long as they can be: a body of a million of the same, a head as large as one is taken.
#[test]
fn much_of_the_same_takes_no_more_than_its_bound() {
    let _alone = alone();
    let many = |times: usize, head: &str, part: &str, tail: &str| {
        format!("{head}{}{tail}", part.repeat(times)).into_bytes()
    };
    let body = |head: &str, part: &str, tail: &str| many(1_000_000, head, part, tail);
    let head = |head: &str, part: &str, tail: &str| many(65_000 / part.len(), head, part, tail);
    let urlencoded = "application/x-www-form-urlencoded\n";
    let multipart = "multipart/form-data; boundary=b\n--b";
    let part = "\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\r\n--b";
    for (name, door, bytes) in [
        ("form", form as fn(&[u8]), body(urlencoded, "a&", "")),
        ("form", form, body(urlencoded, "%", "")),
        ("form", form, body(multipart, part, "--")),
        ("json", json, body("/a\n{\"a\":[0", ",1", "]}")),
        ("json", json, body("/a\n{\"a\":", "[", "")),
        ("json", json, body("/a\n{\"a\":\"", "\\n", "\"}")),
        ("json", json, body("/a\n{\"a\":0", ",\"b\":1", "}")),
        (
            "headers",
            headers,
            head("10.0.0.3\nx-forwarded-for:1.2.3.4", ",10.0.0.1", "\n\n"),
        ),
        ("headers", headers, head("10.0.0.3", "\na:b", "\n\n")),
        (
            "packs",
            packs,
            head("twilio POST /x?a", "&a", "\nx-twilio-signature:AAAA\n\n"),
        ),
        (
            "packs",
            packs,
            head(
                "hubspot POST /x?a",
                "%2F",
                "\nx-hubspot-signature-v3:AAAA\n\n",
            ),
        ),
        (
            "packs",
            packs,
            head("mailchimp POST /in/x?a", "&token=a", "\n\n"),
        ),
        (
            "packs",
            packs,
            head("stripe POST /\nstripe-signature:t=1", ",v1=a", "\n\n{}"),
        ),
        ("packs", packs, body("stripe POST /\n\n[0", ",1", "]")),
        ("packs", packs, body("sendgrid POST /\n\n[0", ",1", "]")),
        (
            "packs",
            packs,
            body("twilio POST /\n\n[0", ",{\"id\":\"1\"}", "]"),
        ),
        (
            "packs",
            packs,
            body("microsoft-graph POST /\n\n{\"value\":[0", ",1", "]}"),
        ),
    ] {
        door(&sample(name));
        let peak = peak_bytes(|| door(&bytes));
        println!("{name}: {peak} bytes for {}", bytes.len());
        within_its_bound(name, door, &bytes);
    }
}

#[test]
fn memory_is_counted() {
    let _alone = alone();
    let taken = FIXED_BYTES_MAX + BYTES_PER_BYTE_MAX + 1;
    let hoard: fn(&[u8]) = |_| drop(vec![1u8; FIXED_BYTES_MAX + BYTES_PER_BYTE_MAX + 1]);
    assert!(peak_bytes(|| hoard(b"")) >= taken);
    let found = std::panic::catch_unwind(|| within_its_bound("json", hoard, b"x"));
    assert!(found.is_err(), "a reader that takes too much is found");
}
