//! Doors for `tests/fuzz`: everything that reads what strangers send, by name, and the packs of a
//! user's own.
//!
//! Whatever the bytes are, a reader answers or refuses: it neither panics nor takes more memory than
//! a small multiple of what came, and no verifier believes what was not signed with its secret.
//! Where another reader of the same thing is at hand, the two have to agree.

mod fields;
mod heads;
mod message;
mod packs;

use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAllocTrait};

pub use creel_common::testkit::doors::Door;
pub use fields::{form, json};
pub use heads::headers;
pub use packs::{packfile, packs};

/// All of them.
pub const DOORS: [(&str, Door); 5] = [
    ("form", form),
    ("headers", headers),
    ("json", json),
    ("packfile", packfile),
    ("packs", packs),
];

/// Most bytes in use at once for each byte that came.
pub const BYTES_PER_BYTE_MAX: usize = 8;
/// The same for a pack, which is a file of the operator's own (256 KiB at most): its tree keeps where
/// each value stands, and each complaint about it is a sentence.
pub const BYTES_PER_BYTE_OF_PACK_MAX: usize = 256;
/// What may come on top, however little came: lists that have a greatest length (4,096 fields of a
/// form, 10,000 items of a batch, 32 spellings of a URL).
pub const FIXED_BYTES_MAX: usize = 2 << 20;

/// Most bytes in use at once while `run` runs, beyond those before. Counts what other threads do as
/// well, and needs peakmem-alloc's `INSTRUMENTED_SYSTEM` as the global allocator.
pub fn peak_bytes(run: impl FnOnce()) -> usize {
    INSTRUMENTED_SYSTEM.reset_peak_memory();
    run();
    INSTRUMENTED_SYSTEM.get_peak_memory()
}

/// Hands bytes to a door, which has to keep within its bound of memory.
///
/// # Panics
/// If the door does, or takes more.
pub fn within_its_bound(name: &str, door: Door, data: &[u8]) {
    let bytes = peak_bytes(|| door(data));
    let each = match name {
        "packfile" => BYTES_PER_BYTE_OF_PACK_MAX,
        _ => BYTES_PER_BYTE_MAX,
    };
    let bytes_max = data.len() * each + FIXED_BYTES_MAX;
    assert!(
        bytes <= bytes_max,
        "{name} took {bytes} bytes for {}",
        data.len()
    );
}

/// A target of `tests/fuzz`: what is made once, and then every input within its bound.
pub fn target(name: &'static str, door: Door, data: &[u8]) {
    static WARM: std::sync::Once = std::sync::Once::new();
    WARM.call_once(|| door(&sample(name)));
    within_its_bound(name, door, data);
}

/// What a door is meant for: where fuzzing begins.
pub fn sample(name: &str) -> Vec<u8> {
    let text = match name {
        "form" => {
            "multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"event\":1}\r\n--b--\r\n"
        }
        "headers" => {
            "10.0.0.3\nhost:hooks.example.com\nx-forwarded-for:203.0.113.9, 10.0.0.7:44\nx-forwarded-proto:https\nx-forwarded-host:hooks.example.com\ncontent-length: 5\nTransfer-Encoding: chunked\n\nhello"
        }
        "json" => {
            "/a/b/1/c~1d\n{\"a\":{\"b\":[1,{\"c/d\":\"x\\u00e9\\n\"}]},\"n\":12.50,\"t\":true,\"z\":null}"
        }
        "packfile" => return packs::pack_text().into(),
        _ => return packs::signed("github"),
    };
    text.into()
}

/// Every delivery that its pack can be made to sign, as the door `packs` takes it.
pub fn signed_deliveries() -> impl Iterator<Item = Vec<u8>> {
    packs::names().map(packs::signed)
}
