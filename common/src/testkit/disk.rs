//! What a disk may do to a file.

use std::path::Path;

/// Other bytes in a file, and as many as before.
///
/// # Panics
/// When it cannot be read and written.
pub fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file of the log");
    bytes.fill(0x5a);
    std::fs::write(path, bytes).expect("a file of the log");
}
